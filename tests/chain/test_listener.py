"""The listener, a checker and a POP3 server, with clients that were not written here."""

import poplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chain.conftest import Checker
from tests.support import clients
from tests.support.maildir import MESSAGES, SERVED, Account
from tests.support.resident import HOST, Listener
from tests.support.server import Server
from tests.support.waiting import TIMEOUT, until


@pytest.fixture
def listener(checker: Checker, tmp_path: Path) -> Iterator[Listener]:
    """Return a listener in front of bob's mail."""
    subprogram, env = checker
    with Listener(tmp_path, subprogram=subprogram, env=env) as running:
        yield running


def as_server(listener: Listener) -> Server:
    """Return a listener as the clients know a server."""
    return Server(listener.port, listener.process.pid, "", listener.log, listener.log)


def test_poplib(listener: Listener) -> None:
    """Python's own client reads the mail, and its QUIT is answered by the POP3 server."""
    mail = poplib.POP3(HOST, listener.port, TIMEOUT)
    mail.user("bob")
    mail.pass_("secret")
    assert len(MESSAGES) == mail.stat()[0]
    assert SERVED[0].splitlines() == mail.retr(1)[1]
    assert mail.quit().startswith(b"+OK")
    assert listener.wait_for_records(1)[0].endswith("Accept::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'")


def test_a_wrong_password(listener: Listener) -> None:
    """It is told, and recorded."""
    mail = poplib.POP3(HOST, listener.port, TIMEOUT)
    mail.user("bob")
    with pytest.raises(poplib.error_proto, match="-ERR authorization failed"):
        mail.pass_("guess")
    mail.close()
    assert " Reject::AUTH::User " in listener.wait_for_records(1)[0]


def test_curl(listener: Listener) -> None:
    """It asks for capabilities first, and reads a message."""
    done = clients.curl(as_server(listener), "bob:secret", "2")
    assert (0, SERVED[1]) == (done.returncode, done.stdout.replace(b"\r\n", b"\n"))


def test_mpop(listener: Listener, bob: Account, tmp_path: Path) -> None:
    """It pipelines, and fetches all."""
    mbox = tmp_path / "mbox"
    done = clients.mpop(as_server(listener), bob, mbox, "--auth=user", "--tls=off")
    assert 0 == done.returncode, done.stderr
    until(lambda: clients.delivered(mbox))
