"""A UCSPI-TLS server, the popup, a checker and a POP3 server, with clients that speak TLS."""

import poplib
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.chain.conftest import OFFERED, Checker, serve_tls
from tests.support.authority import Authority
from tests.support.clients import curl, delivered, mpop
from tests.support.maildir import MESSAGES, SERVED, Account
from tests.support.programs import need
from tests.support.server import HOST, Server
from tests.support.waiting import TIMEOUT

_SOURCE = "S:127.0.0.1:unknown ?~ 'bob'"
SECURE = f"Accept::AUTH::User P:POP3S {_SOURCE}"
CLEAR = f"Accept::AUTH::User P:POP3 {_SOURCE}"

REQUIRED = {"UCSPITLS": "!"}
POP3S_BY_PORT = {"LOCALPORT": "995"}
POP3S: dict[str, str] = {}


def _on(*modes: dict[str, str]) -> pytest.MarkDecorator:
    names = {
        str(OFFERED): "offered",
        str(REQUIRED): "required",
        str(POP3S): "pop3s",
        str(POP3S_BY_PORT): "port 995",
    }
    return pytest.mark.parametrize(
        "tls_server", modes, ids=[names[str(mode)] for mode in modes], indirect=True
    )


def _read_all(client: poplib.POP3, bob: Account) -> None:
    client.user(bob.name)
    client.pass_(bob.password)
    for number, message in enumerate(SERVED, 1):
        assert message.splitlines() == client.retr(number)[1]
    client.quit()


@_on(OFFERED, REQUIRED)
def test_poplib_starts_tls(tls_server: Server, bob: Account, certificates: Authority) -> None:
    """STLS, the capabilities again, a login and the mail."""
    with closing(poplib.POP3(HOST, tls_server.port, timeout=TIMEOUT)) as client:
        assert "STLS" in client.capa()
        client.stls(certificates.trusted())
        assert {"TOP", "USER", "UIDL"} == set(client.capa())
        _read_all(client, bob)
    assert [SECURE] == tls_server.settled_records()


@_on(POP3S, POP3S_BY_PORT)
def test_poplib_speaks_tls_from_the_start(tls_server: Server, bob: Account, certificates: Authority) -> None:
    """POP3S is known by what the server says of TLS, or by the port alone."""
    client = poplib.POP3_SSL(HOST, tls_server.port, timeout=TIMEOUT, context=certificates.trusted())
    with closing(client):
        assert {"TOP", "USER", "UIDL"} == set(client.capa())
        _read_all(client, bob)
    assert [SECURE] == tls_server.settled_records()


@_on(OFFERED, REQUIRED)
def test_curl_insists_on_tls(tls_server: Server, bob: Account, certificates: Authority) -> None:
    """Curl with --ssl-reqd reads a message."""
    done = curl(tls_server, f"bob:{bob.password}", "1", "--ssl-reqd", "--cacert", str(certificates.ca))
    assert (0, b"") == (done.returncode, done.stderr)
    assert SERVED[0] == done.stdout.replace(b"\r\n", b"\n")
    assert [SECURE] == tls_server.settled_records()


@_on(POP3S, POP3S_BY_PORT)
def test_curl_speaks_pop3s(tls_server: Server, bob: Account, certificates: Authority) -> None:
    """Curl reads a message over pop3s."""
    done = curl(tls_server, f"bob:{bob.password}", "2", "--cacert", str(certificates.ca), scheme="pop3s")
    assert (0, b"") == (done.returncode, done.stderr)
    assert SERVED[1] == done.stdout.replace(b"\r\n", b"\n")
    assert [SECURE] == tls_server.settled_records()


@_on(OFFERED)
def test_curl_in_clear_is_served_where_tls_is_only_offered(tls_server: Server, bob: Account) -> None:
    """The server ends a session whose control socket is closed everywhere: the popup has to keep its own."""
    assert SERVED[0] == curl(tls_server, f"bob:{bob.password}", "1").stdout.replace(b"\r\n", b"\n")
    assert [CLEAR] == tls_server.settled_records()


@_on(REQUIRED)
def test_a_login_in_clear_is_refused_where_tls_is_required(tls_server: Server, bob: Account) -> None:
    """Before the password is sent, and with a record of it."""
    client = poplib.POP3(HOST, tls_server.port, timeout=TIMEOUT)
    with closing(client), pytest.raises(poplib.error_proto, match="-ERR TLS required but not negotiated"):
        client.user(bob.name)
    assert ["Reject::STLS::Any P:POP3 S:127.0.0.1:unknown ?~ 'unknown'"] == tls_server.settled_records()


def test_the_event_names_the_tls_version(
    popup: list[str], checker: Checker, bob: Account, certificates: Authority, tmp_path: Path
) -> None:
    """What the server answered on the control socket goes to the mirror as well as to the subprogram."""
    spool = tmp_path / "spool"
    spool.mkdir(0o770)
    with serve_tls(popup, checker, certificates, {**OFFERED, "QMAIL_POPUP_SPOOL": str(spool)}) as server:
        with closing(poplib.POP3(HOST, server.port, timeout=TIMEOUT)) as client:
            client.stls(certificates.trusted())
            _read_all(client, bob)
        assert [SECURE] == server.settled_records()
    event = (spool / "spool").read_bytes().split(b"\0")
    assert b"TLS=TLSv1.3" in event
    assert [entry for entry in event if entry.startswith(b"CIPHER=TLS_")]


def test_mpop_starts_tls(tls_server: Server, bob: Account, certificates: Authority) -> None:
    """Mpop fetches all over STLS, pipelining as it likes."""
    mbox = bob.home / "mbox"
    tls = ("--tls=on", "--tls-starttls=on", f"--tls-trust-file={certificates.ca}")
    done = mpop(tls_server, bob, mbox, "--auth=user", "--pipelining=on", *tls)
    assert (0, "") == (done.returncode, done.stderr)
    assert delivered(mbox)
    assert [SECURE] == tls_server.settled_records()


def test_openssl_s_client_reads_the_mail(tls_server: Server, bob: Account, certificates: Authority) -> None:
    """Whatever it sends at once behind its handshake goes right through PASS."""
    (openssl,) = need("openssl")
    where = ["-connect", f"{HOST}:{tls_server.port}", "-starttls", "pop3"]
    trust = ["-CAfile", str(certificates.ca), "-verify_return_error", "-quiet", "-ign_eof"]
    said = f"USER {bob.name}\r\nPASS {bob.password}\r\nRETR 1\r\nQUIT\r\n"
    argv = [openssl, "s_client", *where, *trust]
    done = subprocess.run(argv, input=said.encode(), capture_output=True, check=False, timeout=TIMEOUT)
    assert MESSAGES[0] in done.stdout.replace(b"\r\n", b"\n")
    assert [SECURE] == tls_server.settled_records()


def test_many_sessions_over_tls_at_once(tls_server: Server, bob: Account, certificates: Authority) -> None:
    """Each of them has its own pipes: none hears another's end."""
    clients = [poplib.POP3(HOST, tls_server.port, timeout=TIMEOUT) for _ in range(8)]
    for client in clients:
        client.stls(certificates.trusted())
    for client in clients:
        with closing(client):
            _read_all(client, bob)
    assert [SECURE] * 8 == tls_server.settled_records()
