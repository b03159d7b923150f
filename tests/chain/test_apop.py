"""checkapoppw and checkpw, which become a system user: a made-up one, in a mount namespace of its own."""

import poplib
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support import maildir
from tests.support.clients import curl, delivered, mpop
from tests.support.maildir import SERVED, Account
from tests.support.mounts import namespace
from tests.support.programs import need, need_root
from tests.support.server import HOST, Server, serving, tcpserver
from tests.support.subprogram import pop3_server
from tests.support.waiting import TIMEOUT

_UID = 54321
"""Nobody's: the user exists only in the namespace."""

_IN_NAMESPACE = 'mount --bind "$1" /etc/passwd && shift && exec "$@"'


@pytest.fixture
def owner() -> Iterator[Account]:
    """Return an account that belongs to a system user of its own."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="home-") as directory:
        Path(directory).chmod(0o755)  # the user has to get at its home
        made = maildir.account(Path(directory), "apopuser")
        maildir.password_file(made, _UID)
        yield made


@contextmanager
def _chain(popup: list[str], checker: str, owner: Account, passwd: Path) -> Iterator[Server]:
    """Run the chain with `checker`, in a namespace in which the account is a system user."""
    (checkpw,) = need(checker)
    system = Path("/etc/passwd").read_text(encoding="utf-8")
    passwd.write_text(f"{system}{owner.name}:x:{_UID}:{_UID}::{owner.home}:/bin/sh\n", encoding="utf-8")
    enter = [*namespace(), "/bin/sh", "-c", _IN_NAMESPACE, "sh", str(passwd)]
    chain = [*popup, "pop.example.org", checkpw, *pop3_server()]
    with serving([*enter, *tcpserver(*chain)], {"POP3AUTH": "apop"}) as running:
        yield running
        assert b"" == running.errors.read_bytes()


@pytest.fixture
def apop(popup: list[str], owner: Account, tmp_path: Path) -> Iterator[Server]:
    """Return a chain that knows APOP."""
    with _chain(popup, "checkapoppw", owner, tmp_path / "passwd") as server:
        yield server


def _record(result: str, method: str) -> list[str]:
    return [f"{result}::AUTH::{method} P:POP3 S:127.0.0.1:unknown ?~ 'apopuser'"]


def test_poplib_logs_in_with_apop(apop: Server, owner: Account) -> None:
    """The digest is over the greeting's timestamp, which checkapoppw gets on descriptor 3."""
    with closing(poplib.POP3(HOST, apop.port, timeout=TIMEOUT)) as client:
        assert {"TOP", "USER", "UIDL", "APOP"} == set(client.capa())
        client.apop(owner.name, owner.password)
        assert SERVED[0].splitlines() == client.retr(1)[1]
        client.quit()
    assert _record("Accept", "Apop") == apop.settled_records()


def test_poplib_is_refused_with_a_wrong_password(apop: Server, owner: Account) -> None:
    """A digest over another password is refused."""
    client = poplib.POP3(HOST, apop.port, timeout=TIMEOUT)
    with closing(client), pytest.raises(poplib.error_proto, match="-ERR authorization failed"):
        client.apop(owner.name, "wrong")
    assert _record("Reject", "Apop") == apop.settled_records()


def test_mpop_fetches_all_with_apop(apop: Server, owner: Account, tmp_path: Path) -> None:
    """Mpop takes the timestamp out of the greeting by its own rules."""
    done = mpop(apop, owner, tmp_path / "mbox", "--auth=apop", "--tls=off")
    assert (0, "") == (done.returncode, done.stderr)
    assert delivered(tmp_path / "mbox")
    assert _record("Accept", "Apop") == apop.settled_records()


def test_curl_logs_in_with_apop(apop: Server, owner: Account) -> None:
    """And so does curl."""
    done = curl(apop, f"{owner.name}:{owner.password}", "2", "--login-options", "AUTH=+APOP")
    assert (0, b"") == (done.returncode, done.stderr)
    assert SERVED[1] == done.stdout.replace(b"\r\n", b"\n")
    assert _record("Accept", "Apop") == apop.settled_records()


def test_checkpw_serves_user_and_pass(popup: list[str], owner: Account, tmp_path: Path) -> None:
    """Checkpw ignores the timestamp that descriptor 3 holds also where APOP was not used."""
    with _chain(popup, "checkpw", owner, tmp_path / "passwd") as server:
        with closing(poplib.POP3(HOST, server.port, timeout=TIMEOUT)) as client:
            client.user(owner.name)
            client.pass_(owner.password)
            assert SERVED[0].splitlines() == client.retr(1)[1]
            client.quit()
        assert _record("Accept", "User") == server.settled_records()


def test_checkpw_refuses_more_than_512_bytes(popup: list[str], owner: Account, tmp_path: Path) -> None:
    """It ends before it has read all of descriptor 3: that is a refusal as any other."""
    with _chain(popup, "checkpw", owner, tmp_path / "passwd") as server:
        with closing(poplib.POP3(HOST, server.port, timeout=TIMEOUT)) as client:
            client.user(owner.name)
            with pytest.raises(poplib.error_proto, match="-ERR authorization failed"):
                client.pass_("p" * 4000)
        assert _record("Reject", "User") == server.settled_records()
