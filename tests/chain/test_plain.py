"""tcpserver, the popup, a checker and a POP3 server, with clients that were not written here."""

import poplib
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.clients import curl, delivered, mpop
from tests.support.maildir import MESSAGES, SERVED, Account
from tests.support.server import HOST, Server, serving, tcpserver

ACCEPTED = "Accept::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'"
REJECTED = "Reject::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'"


@pytest.fixture
def server(popup: list[str], checker: tuple[list[str], dict[str, str]]) -> Iterator[Server]:
    """Return the chain, without TLS and without APOP."""
    subprogram, env = checker
    with serving(tcpserver(*popup, "pop.example.org", *subprogram), env) as running:
        yield running
        assert b"" == running.errors.read_bytes()


def test_poplib_reads_the_mail(server: Server, bob: Account) -> None:
    """A whole session: the capabilities, a login, the list, both messages, and goodbye."""
    with closing(poplib.POP3(HOST, server.port, timeout=30)) as client:
        assert {"TOP", "USER", "UIDL"} == set(client.capa())
        client.user(bob.name)
        client.pass_(bob.password)
        assert len(MESSAGES) == client.stat()[0]
        for number, message in enumerate(SERVED, 1):
            assert message.splitlines() == client.retr(number)[1]
        client.quit()
    assert [ACCEPTED] == server.settled_records()


def test_poplib_is_refused(server: Server, bob: Account) -> None:
    """A wrong password: the client is told, and so is the log."""
    with closing(poplib.POP3(HOST, server.port, timeout=30)) as client:
        client.user(bob.name)
        with pytest.raises(poplib.error_proto, match="-ERR authorization failed"):
            client.pass_("wrong")
    assert [REJECTED] == server.settled_records()


def test_curl_reads_a_message(server: Server, bob: Account) -> None:
    """Curl asks for the capabilities, logs in and reads."""
    done = curl(server, f"bob:{bob.password}", "1")
    assert (0, b"") == (done.returncode, done.stderr)
    assert SERVED[0] == done.stdout.replace(b"\r\n", b"\n")
    assert [ACCEPTED] == server.settled_records()


def test_curl_is_refused(server: Server) -> None:
    """Curl has a status of its own, 67, for a login that was denied."""
    assert 67 == curl(server, "bob:wrong").returncode
    assert [REJECTED] == server.settled_records()


def test_mpop_fetches_all(server: Server, bob: Account, tmp_path: Path) -> None:
    """Mpop delivers both messages and says goodbye."""
    done = mpop(server, bob, tmp_path / "mbox", "--auth=user", "--tls=off")
    assert (0, "") == (done.returncode, done.stderr)
    assert delivered(tmp_path / "mbox")
    assert [ACCEPTED] == server.settled_records()


def test_a_client_that_does_not_wait_is_served(server: Server, bob: Account) -> None:
    """One send holds the whole session, right through PASS: what is behind it is the POP3 server's."""
    commands = f"USER {bob.name}\r\nPASS {bob.password}\r\nSTAT\r\nDELE 1\r\nRSET\r\nQUIT\r\n"
    with socket.create_connection((HOST, server.port), timeout=30) as client:
        client.sendall(commands.encode())
        said = b"".join(iter(lambda: client.recv(65536), b""))
    replies = said.splitlines()
    assert [b"+OK", b"+OK "] == replies[:2]
    assert replies[3].startswith(b"+OK 2 ")
    assert [True] * 7 == [reply.startswith(b"+OK") for reply in replies]
    assert [ACCEPTED] == server.settled_records()
