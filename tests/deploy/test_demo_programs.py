"""deploy/demo: its checker by the checkpassword interface, and its POP3 server by RFC 1939."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qmail_popup import reasons
from tests.support import maildir
from tests.support.descriptors import CHECKOUT
from tests.support.maildir import MESSAGES, Account

DEMO = CHECKOUT / "deploy/demo"
PYTHON = (sys.executable, "-IS")
WHO = 'echo "$USER $HOME $SHELL $PWD"'


@pytest.fixture
def bob(tmp_path: Path) -> Account:
    """Return an account with two messages."""
    return maildir.account(tmp_path)


@pytest.fixture
def passwords(bob: Account, tmp_path: Path) -> Path:
    """Return the checker's file, with lines around bob's that are nobody's."""
    file = maildir.pwfile(tmp_path / "passwd", bob)
    file.write_text(f"# a comment\n\nalice:secret\n{file.read_text()}")
    return file


def check(credentials: bytes, *arguments: str | Path) -> tuple[int, bytes]:
    """Run the checker with this on descriptor 3; its status, and what it or its program said."""
    reader, writer = os.pipe()
    os.write(writer, credentials)
    os.close(writer)
    script = f'exec "$@" 3</dev/fd/{reader}'
    command = ["sh", "-c", script, "sh", *PYTHON, str(DEMO / "checkpassword.py"), *map(str, arguments)]
    done = subprocess.run(
        command, pass_fds=[reader], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    os.close(reader)
    return done.returncode, done.stdout


def test_the_right_password_starts_the_program_as_the_user(passwords: Path, bob: Account) -> None:
    """In the user's home, with USER, HOME and SHELL as the interface has them."""
    expected = f"bob {bob.home} /bin/false {bob.home}\n"
    assert (0, expected.encode()) == check(b"bob\0secret\0<1.2@host>\0", passwords, "sh", "-c", WHO)


@pytest.mark.parametrize(
    "credentials",
    [b"bob\0Secret\0<1>\0", b"bob\0\0<1>\0", b"rob\0secret\0<1>\0", b"alice\0secret\0<1>\0", b"\xff\0s\0\0"],
    ids=["another password", "none", "nobody", "a line that is no account", "bytes"],
)
def test_a_refusal_is_status_1(passwords: Path, credentials: bytes) -> None:
    """The program is not started, and nothing is said."""
    assert (1, b"") == check(credentials, passwords, "echo", "started")


@pytest.mark.parametrize("credentials", [b"n" * 600 + b"\0x\0<1>\0", b"bob\0secret\0" + b"x" * 502])
def test_what_is_too_long_is_a_refusal(passwords: Path, credentials: bytes) -> None:
    """More than the interface's 512 bytes is the client's doing, and nobody's misuse."""
    assert (1, b"") == check(credentials, passwords, "echo", "started")


@pytest.mark.parametrize("credentials", [b"", b"bob"])
def test_what_is_no_credentials_is_misuse(passwords: Path, credentials: bytes) -> None:
    """Too little on descriptor 3."""
    assert (2, b"") == check(credentials, passwords, "echo", "started")


def test_a_command_line_without_a_program_is_misuse(passwords: Path) -> None:
    """There is nothing to start."""
    assert (2, b"") == check(b"bob\0secret\0\0", passwords)


def test_trouble_is_status_111(passwords: Path, bob: Account) -> None:
    """No file of passwords, no such program, no home: it may be better later."""
    right = b"bob\0secret\0\0"
    assert (111, b"") == check(right, passwords.with_name("none"), "echo", "started")
    assert (111, b"") == check(right, passwords, "/nonexistent")
    bob.home.rename(bob.home.with_name("moved"))
    assert (111, b"") == check(right, passwords, "echo", "started")


def talk(home: Path, said: bytes) -> tuple[int, list[bytes]]:
    """Start the server, say all of that, and close; its status, and its lines without their ends."""
    command = [*PYTHON, str(DEMO / "pop3.py"), "Maildir"]
    done = subprocess.run(command, cwd=home, input=said, capture_output=True, check=False)
    assert b"" == done.stderr
    assert done.stdout.count(b"\n") == done.stdout.count(b"\r\n")
    return done.returncode, done.stdout.split(b"\r\n")[:-1]


SIZES = [len(message.replace(b"\n", b"\r\n")) for message in MESSAGES]
TRANSCRIPTS = {
    b"STAT": [b"+OK 2 %d" % sum(SIZES)],
    b"LIST": [b"+OK ", b"1 %d" % SIZES[0], b"2 %d" % SIZES[1], b"."],
    b"list 2": [b"+OK 2 %d" % SIZES[1]],
    b"UIDL": [b"+OK ", b"1 1000000000.0.test", b"2 1000000001.1.test", b"."],
    b"UIDL 1": [b"+OK 1 1000000000.0.test"],
    b"RETR 1": [b"+OK ", *MESSAGES[0].splitlines(), b"."],
    b"RETR 2": [b"+OK ", *MESSAGES[1].replace(b"\n.", b"\n..").splitlines(), b"."],
    b"TOP 1 0": [b"+OK ", *MESSAGES[0].splitlines()[:4], b"."],
    b"TOP 1 9": [b"+OK ", *MESSAGES[0].splitlines(), b"."],
    b"NOOP": [b"+OK "],
    b"CAPA": [b"+OK ", b"TOP", b"UIDL", b"."],
    b"RETR 0": [b"-ERR no such message"],
    b"RETR 3": [b"-ERR no such message"],
    b"DELE -1": [b"-ERR no such message"],
    b"TOP 1": [b"-ERR no such message"],
    b"RETR one": [b"-ERR no such message"],
    b"XTND": [b"-ERR unimplemented"],
    b"": [b"-ERR unimplemented"],
}


@pytest.mark.parametrize("command", TRANSCRIPTS, ids=lambda command: command.decode() or "nothing")
def test_a_command_gets_its_reply(bob: Account, command: bytes) -> None:
    """Between the greeting and the goodbye."""
    status, lines = talk(bob.home, command + b"\r\nQUIT\r\n")
    assert (0, [b"+OK ", *TRANSCRIPTS[command], b"+OK "]) == (status, lines)


def left(bob: Account) -> list[str]:
    """Return what is in the mailbox."""
    box = bob.home / "Maildir"
    return sorted(str(file.relative_to(box)) for file in box.rglob("*") if file.is_file())


NEW, SEEN = ["new/1000000000.0.test", "new/1000000001.1.test"], ["cur/1000000001.1.test:2,"]


def test_a_deleted_message_goes_at_quit(bob: Account) -> None:
    """Until then it is merely not there, and what is left counts as seen."""
    said = b"DELE 1\r\nRETR 1\r\nSTAT\r\nLIST\r\nQUIT\r\n"
    status, lines = talk(bob.home, said)
    gone = [b"-ERR no such message", b"+OK 1 %d" % SIZES[1], b"+OK ", b"2 %d" % SIZES[1], b"."]
    assert (0, [b"+OK ", b"+OK ", *gone, b"+OK "]) == (status, lines)
    assert SEEN == left(bob)


def test_marks_can_be_taken_back(bob: Account) -> None:
    """RSET, and nothing goes."""
    assert 0 == talk(bob.home, b"DELE 1\r\nDELE 2\r\nRSET\r\nQUIT\r\n")[0]
    assert ["cur/1000000000.0.test:2,", *SEEN] == left(bob)


def test_another_session_may_move_and_delete_messages(bob: Account) -> None:
    """This one goes on with what was there at its login, and ends by QUIT."""
    command = [*PYTHON, str(DEMO / "pop3.py"), "Maildir"]
    with subprocess.Popen(command, cwd=bob.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert b"+OK \r\n" == server.stdout.readline()
        talk(bob.home, b"DELE 1\r\nQUIT\r\n")
        lines = server.communicate(b"STAT\r\nDELE 1\r\nQUIT\r\n")[0].splitlines()
    assert (0, [b"+OK 2 %d" % sum(SIZES), b"+OK ", b"+OK "]) == (server.returncode, lines)
    assert SEEN == left(bob)


@pytest.mark.parametrize("last", [b"", b"QUIT", b"X" * 600 + b"\r\nQUIT\r\n"])
def test_without_quit_nothing_goes(bob: Account, last: bytes) -> None:
    """A client that is gone, in the middle of a line or not, or sends more than a line: no wrong password."""
    status, lines = talk(bob.home, b"DELE 1\r\n" + last)
    assert ([b"+OK ", b"+OK "], NEW) == (lines, left(bob))
    assert reasons.SESSION == reasons.reason(status, None, late=False)


def test_a_client_that_resets_is_no_wrong_password(bob: Account) -> None:
    """Its connection cannot be read any more, and that ends the server like any other way to leave."""
    near, far = socket.socketpair()
    with near, far:
        command, end = [*PYTHON, str(DEMO / "pop3.py"), "Maildir"], far.fileno()
        with subprocess.Popen(command, cwd=bob.home, stdin=end, stdout=end, stderr=subprocess.PIPE) as server:
            assert b"+OK \r\n" == near.recv(99)
            far.send(b"unread")  # closing with that still unread resets
            near.close()
            assert b"" == server.communicate()[1]
    assert reasons.SESSION == reasons.reason(server.returncode, None, late=False)
