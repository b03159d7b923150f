"""The whole chain, with cvm and mailfront: why each login was refused, as its event has it."""

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import maildir
from tests.support.maildir import Account
from tests.support.programs import need
from tests.support.server import HOST, Server, serving, tcpserver
from tests.support.waiting import until

_LARGE = b"Subject: large\n\n" + b"x" * 70 * 400_000
"""More than the sockets between server and client hold."""


@contextmanager
def _chain(popup: list[str], spool: Path, passwords: Path, **more: str) -> Iterator[Server]:
    checkpassword, pwfile, mail = need("cvm-checkpassword", "cvm-pwfile", "pop3front-maildir")
    serve = ["/bin/sh", "-c", 'exec "$0" Maildir 2>/dev/null', mail]
    cvm = {"CVM_PWFILE_PATH": str(passwords), "CVM_ACCOUNT_SPLIT_CHARS": ""}
    told = {"QMAIL_POPUP_SPOOL": str(spool), "QMAIL_POPUP_RESP_CODES": "1"}
    program = tcpserver(*popup, "pop.example.org", checkpassword, pwfile, *serve)
    with serving(program, cvm | told | more) as server:
        yield server


@pytest.fixture
def passwords(bob: Account, tmp_path: Path) -> Path:
    """Return the checker's password file."""
    return maildir.pwfile(tmp_path / "passwd", bob)


def _story(spool: Path) -> Mapping[str, str]:
    """Wait for the one event of a session, and return what it says."""
    file = spool / "spool"
    until(lambda: file.exists() and file.read_bytes().endswith(b"END=1\0\0"))
    entries = file.read_bytes().strip(b"\0").decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries)


def _said(server: Server, name: str, password: str) -> bytes:
    with socket.create_connection((HOST, server.port)) as client:
        client.sendall(f"USER {name}\r\nPASS {password}\r\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize("is_reset", [False, True], ids=["closes", "resets"])
def test_a_client_that_drops_out_in_the_middle_of_a_message(
    popup: list[str], bob: Account, passwords: Path, tmp_path: Path, *, is_reset: bool
) -> None:
    """Its login had succeeded, whatever the POP3 server dies of: no wrong password, no broken checker."""
    (bob.home / "Maildir/new/1.1.large").write_bytes(_LARGE)
    with _chain(popup, tmp_path, passwords) as server:
        with socket.create_connection((HOST, server.port)) as client:
            client.sendall(f"USER {bob.name}\r\nPASS {bob.password}\r\nRETR 1\r\n".encode())
            received = b""
            while len(received) < 100_000:
                received += client.recv(65536)
            if is_reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        told = _story(tmp_path)
    assert ("session", "rejected") == (told["REASON"], told["ENDED"])
    assert {"STATUS", "SIGNAL"} & told.keys()
    assert "Reject::AUTH::User" in told["RECORD"]


def test_a_wrong_password(popup: list[str], bob: Account, passwords: Path, tmp_path: Path) -> None:
    """The checker exits 100: credentials."""
    with _chain(popup, tmp_path, passwords) as server:
        assert _said(server, bob.name, "wrong").endswith(b"-ERR [AUTH] authorization failed\r\n")
        told = _story(tmp_path)
    assert ("credentials", "100") == (told["REASON"], told["STATUS"])


def test_a_name_that_is_too_long_for_the_checker(popup: list[str], passwords: Path, tmp_path: Path) -> None:
    """The checker exits 2, and it is the client's doing: no alert about the checker may come of it."""
    with _chain(popup, tmp_path, passwords) as server:
        assert _said(server, "n" * 600, "x").endswith(b"-ERR [AUTH] authorization failed\r\n")
        told = _story(tmp_path)
    assert ("credentials", "2") == (told["REASON"], told["STATUS"])


def test_a_checker_whose_backend_is_gone(
    popup: list[str], bob: Account, passwords: Path, tmp_path: Path
) -> None:
    """The checker exits 4: temporary, and the client keeps its password."""
    passwords.unlink()
    with _chain(popup, tmp_path, passwords) as server:
        assert _said(server, bob.name, bob.password).endswith(b"-ERR [SYS/TEMP] authorization failed\r\n")
        told = _story(tmp_path)
    assert ("temporary", "4") == (told["REASON"], told["STATUS"])
