"""A POP3 server to try qmail-popup with, and for nothing else: `pop3.py MAILDIR`.

The checker executes it once the client is in (RFC 1939, TRANSACTION state), on descriptors 0 and 1. It exits
with 0 after QUIT. If the client leaves without it, nothing is deleted, and the status is none that a checker
has: 1 would look like a wrong password. It reads each message as a whole and locks nothing, which is why no
mail host should run it.
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
CLIENT_GONE = 128 + signal.SIGPIPE  # a shell's word for a program that SIGPIPE ended
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
        """Return its lines without their ends."""
        return self.content.removesuffix(b"\n").split(b"\n")

    def size(self) -> int:
        """Return its octets as they travel: with CR and LF behind each line."""
        return sum(len(line) + 2 for line in self.lines())

    def unique(self) -> bytes:
        """Return the identity that stays when a client marks the message."""
        return os.fsencode(self.file.name.partition(":")[0])


def read(maildir: Path) -> Iterator[Message]:
    """Yield what is in a mailbox. Another session may move or delete a message at any moment."""
    for part in ("new", "cur"):
        for file in (maildir / part).iterdir():
            with suppress(FileNotFoundError):
                yield Message(file, file.read_bytes())


class Session:
    """A client's mailbox from login to QUIT: takes a line, gives the reply."""

    def __init__(self, maildir: Path) -> None:
        self.messages = sorted(read(maildir), key=lambda message: message.file.name)
        self.maildir = maildir
        self.over = False

    def reply(self, line: bytes) -> bytes:
        """Carry a command out, which may end the session."""
        verb, *words = line.split()
        try:
            numbers = [int(word) for word in words]
            return COMMANDS.get(verb.upper(), unknown)(self, numbers)
        except (ValueError, IndexError):
            return NO_MESSAGE

    def message(self, number: int) -> Message:
        """Return the message of that number, counted from 1; IndexError where there is none."""
        message = self.messages[number - 1]
        if number < 1 or message.deleted:
            raise IndexError(number)
        return message

    def present(self) -> list[tuple[int, Message]]:
        """Return the messages that are not deleted, with their numbers."""
        return [(at, message) for at, message in enumerate(self.messages, 1) if not message.deleted]


def stat(session: Session, _numbers: list[int]) -> bytes:
    """STAT: how many messages, and their octets."""
    sizes = [message.size() for _, message in session.present()]
    return b"+OK %d %d\r\n" % (len(sizes), sum(sizes))


def listing(tell: Callable[[Message], bytes]) -> Callable[[Session, list[int]], bytes]:
    """LIST and UIDL: one line for the message that is named, or one for each."""

    def command(session: Session, numbers: list[int]) -> bytes:
        if numbers:
            return b"+OK %d %s\r\n" % (numbers[0], tell(session.message(numbers[0])))
        return many(b"%d %s" % (at, tell(message)) for at, message in session.present())

    return command


def retr(session: Session, numbers: list[int]) -> bytes:
    """RETR: the whole message."""
    return many(session.message(numbers[0]).lines())


def top(session: Session, numbers: list[int]) -> bytes:
    """TOP: the head, the line behind it, and as many lines of the body as are asked for."""
    number, wanted = numbers
    lines = session.message(number).lines()
    head = lines.index(b"") + 1 if b"" in lines else len(lines)
    return many(lines[: head + max(wanted, 0)])


def dele(session: Session, numbers: list[int]) -> bytes:
    """DELE: mark a message, which goes at QUIT."""
    session.message(numbers[0]).deleted = True
    return OK


def rset(session: Session, _numbers: list[int]) -> bytes:
    """RSET: take all marks back."""
    for message in session.messages:
        message.deleted = False
    return OK


def noop(_session: Session, _numbers: list[int]) -> bytes:
    """NOOP: nothing."""
    return OK


def capa(_session: Session, _numbers: list[int]) -> bytes:
    """CAPA: what this server knows beyond RFC 1939's minimum."""
    return many([b"TOP", b"UIDL"])


def leave(session: Session, _numbers: list[int]) -> bytes:
    """QUIT: delete what is marked, move what was new, and end."""
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
    """Return a reply of many lines: a dot at the start of a line is doubled, and one alone ends it."""
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
    """Serve commands until QUIT, status 0, or until the client is gone."""
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
    """Read a command; without its end if it is too long, or the client is gone."""
    try:
        return client.readline(MAX_LINE)
    except ConnectionResetError:
        return b""


def main(arguments: list[str]) -> int:
    """Serve the maildir that the command line names."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a client that is gone ends us, as it does most servers
    return serve(Session(Path(*arguments)), sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
