"""A POP3 server for trying out qmail-popup, and nothing else: `pop3.py MAILDIR`.

The checker executes it after the login (RFC 1939, TRANSACTION state), with the network on descriptors 0 and
1. It exits with 0 after QUIT. If the client disconnects without QUIT, it deletes nothing, and exits with a
status that no checker uses: 1 would look like a wrong password. It reads each message as a whole and locks
nothing, so no mail host should use it.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

IDLE_SECONDS = 1200
MAX_LINE = 512  # octets of a command; RFC 2449, 4 allows 255
CLIENT_GONE = 128 + signal.SIGPIPE  # what a shell returns for a program ended by SIGPIPE
NO_COMMAND = b"-ERR unimplemented\r\n"
NO_MESSAGE = b"-ERR no such message\r\n"
OK = b"+OK \r\n"


@dataclass
class Message:
    """A message of the mailbox as it was at the login, and whether the client has deleted it."""

    file: Path
    content: bytes
    deleted: bool = False

    def lines(self) -> list[bytes]:
        """Return its lines without line ends."""
        return self.content.removesuffix(b"\n").split(b"\n")

    def size(self) -> int:
        """Return its size in octets as sent: with CR LF after each line."""
        return sum(len(line) + 2 for line in self.lines())

    def unique(self) -> bytes:
        """Return its unique-id, which stays the same when the message is marked."""
        return os.fsencode(self.file.name.partition(":")[0])


def read(maildir: Path) -> Iterator[Message]:
    """Yield the messages of a mailbox. Another session may move or delete any of them meanwhile."""
    for part in ("new", "cur"):
        for file in (maildir / part).iterdir():
            with suppress(FileNotFoundError):
                yield Message(file, file.read_bytes())


class Session:
    """A client's mailbox from login to QUIT: takes a line, returns the reply."""

    def __init__(self, maildir: Path) -> None:
        self.messages = sorted(read(maildir), key=lambda message: message.file.name)
        self.maildir = maildir
        self.over = False

    def reply(self, line: bytes) -> bytes:
        """Execute a command, which may end the session."""
        verb, *words = line.split()
        try:
            numbers = [int(word) for word in words]
            return COMMANDS.get(verb.upper(), unknown)(self, numbers)
        except (ValueError, IndexError):
            return NO_MESSAGE

    def message(self, number: int) -> Message:
        """Return the message of that number, counted from 1; IndexError if there is none."""
        message = self.messages[number - 1]
        if number < 1 or message.deleted:
            raise IndexError(number)
        return message

    def present(self) -> list[tuple[int, Message]]:
        """Return the messages that are not deleted, with their numbers."""
        return [(at, message) for at, message in enumerate(self.messages, 1) if not message.deleted]


def stat(session: Session, _numbers: list[int]) -> bytes:
    """STAT: the number of messages, and their octets."""
    sizes = [message.size() for _, message in session.present()]
    return b"+OK %d %d\r\n" % (len(sizes), sum(sizes))


def listing(tell: Callable[[Message], bytes]) -> Callable[[Session, list[int]], bytes]:
    """LIST and UIDL: a line for the named message, or one for each."""

    def command(session: Session, numbers: list[int]) -> bytes:
        if numbers:
            return b"+OK %d %s\r\n" % (numbers[0], tell(session.message(numbers[0])))
        return many(b"%d %s" % (at, tell(message)) for at, message in session.present())

    return command


def retr(session: Session, numbers: list[int]) -> bytes:
    """RETR: the whole message."""
    return many(session.message(numbers[0]).lines())


def top(session: Session, numbers: list[int]) -> bytes:
    """TOP: the header, the blank line, and the requested number of lines of the body."""
    number, wanted = numbers
    lines = session.message(number).lines()
    head = lines.index(b"") + 1 if b"" in lines else len(lines)
    return many(lines[: head + max(wanted, 0)])


def dele(session: Session, numbers: list[int]) -> bytes:
    """DELE: mark a message for deletion at QUIT."""
    session.message(numbers[0]).deleted = True
    return OK


def rset(session: Session, _numbers: list[int]) -> bytes:
    """RSET: remove all marks."""
    for message in session.messages:
        message.deleted = False
    return OK


def noop(_session: Session, _numbers: list[int]) -> bytes:
    """NOOP: nothing."""
    return OK


def capa(_session: Session, _numbers: list[int]) -> bytes:
    """CAPA: what this server supports beyond RFC 1939's minimum."""
    return many([b"TOP", b"UIDL"])


def leave(session: Session, _numbers: list[int]) -> bytes:
    """QUIT: delete marked messages, move new ones to cur, and end."""
    for message in session.messages:
        if message.deleted:
            message.file.unlink(missing_ok=True)
        elif message.file.parent.name == "new":
            with suppress(FileNotFoundError):
                message.file.rename(session.maildir / "cur" / f"{message.file.name}:2,")
    session.over = True
    return OK


def unknown(_session: Session, _numbers: list[int]) -> bytes:
    """Answer any other command."""
    return NO_COMMAND


def many(lines: Iterable[bytes]) -> bytes:
    """Return a multi-line reply, dot-stuffed and terminated by a dot."""
    stuffed = [b"." + line if line.startswith(b".") else line for line in lines]
    return b"\r\n".join([b"+OK ", *stuffed, b".", b""])


COMMANDS: dict[bytes, Callable[[Session, list[int]], bytes]] = {
    b"CAPA": capa,
    b"DELE": dele,
    b"LIST": listing(lambda message: b"%d" % message.size()),
    b"NOOP": noop,
    b"QUIT": leave,
    b"RETR": retr,
    b"RSET": rset,
    b"STAT": stat,
    b"TOP": top,
    b"UIDL": listing(Message.unique),
}


def serve(session: Session, client: BinaryIO, network: BinaryIO) -> int:
    """Serve commands until QUIT, with status 0, or until the client disconnects."""
    network.write(OK)
    while not session.over:
        network.flush()
        signal.alarm(IDLE_SECONDS)
        line = command(client)
        if not line.endswith(b"\n"):
            return CLIENT_GONE
        network.write(session.reply(line) if line.strip() else NO_COMMAND)
    network.flush()
    return 0


def command(client: BinaryIO) -> bytes:
    """Read a command; without its line end if it is too long or the client disconnected."""
    try:
        return client.readline(MAX_LINE)
    except ConnectionResetError:
        return b""


def main(arguments: list[str]) -> int:
    """Serve the maildir named on the command line."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a disconnected client ends us, as it does most servers
    return serve(Session(Path(*arguments)), sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
