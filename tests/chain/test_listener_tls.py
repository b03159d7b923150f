"""The listener over TLS, a checker and a POP3 server, with clients that were not written here."""

import poplib
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chain.conftest import Checker
from tests.chain.test_listener import as_server
from tests.support import clients, secure
from tests.support.issuer import ECDSA, RSA, Issuer
from tests.support.maildir import MESSAGES, SERVED, Account
from tests.support.programs import need
from tests.support.resident import HOST, Listener
from tests.support.server import Server
from tests.support.waiting import TIMEOUT

_RECORD = "Accept::AUTH::User P:POP3S S:127.0.0.1:unknown ?~ 'bob'"
_BOTH = pytest.mark.parametrize("way", ["pop3s", "stls"])


class Serving(NamedTuple):
    """A listener in front of bob's mail, and who has signed its certificates: RSA and ECDSA, in a chain."""

    listener: Listener
    issuer: Issuer

    def port(self, way: str) -> int:
        """Return where TLS begins this way."""
        return secure.port(self.listener) if way == "pop3s" else self.listener.port

    def server(self, way: str) -> Server:
        """Return it as the clients know a server."""
        return replace(as_server(self.listener), port=self.port(way))

    def has_record(self) -> bool:
        """Whether there is the record of one login over TLS, and no other."""
        return [_RECORD] == [line.split(" ", 3)[3] for line in self.listener.wait_for_records(1)]


@pytest.fixture
def serving(checker: Checker, tmp_path: Path) -> Iterator[Serving]:
    """Return a listener in front of bob's mail."""
    subprogram, env = checker
    issuer = Issuer(tmp_path)
    pairs = [*issuer.issue("rsa", RSA, "localhost"), *issuer.issue("ecdsa", ECDSA, "localhost")]
    options = ["--pop3s", f"{HOST}:0", *pairs]
    with Listener(tmp_path, *options, subprogram=subprogram, env=env) as running:
        yield Serving(running, issuer)


@_BOTH
def test_poplib(serving: Serving, bob: Account, way: str) -> None:
    """Python's own client sees no STLS where TLS is on, and reads the mail."""
    trusted, port = serving.issuer.trusted(), serving.port(way)
    mail: poplib.POP3
    if way == "pop3s":
        mail = poplib.POP3_SSL("localhost", port, timeout=TIMEOUT, context=trusted)
    else:
        mail = poplib.POP3("localhost", port, timeout=TIMEOUT)
        assert "STLS" in mail.capa()
        mail.stls(trusted)
    with closing(mail):
        assert {"TOP", "USER", "UIDL"} == set(mail.capa())
        mail.user(bob.name)
        mail.pass_(bob.password)
        assert [message.splitlines() for message in SERVED] == [mail.retr(place)[1] for place in (1, 2)]
        assert mail.quit().startswith(b"+OK")
    assert serving.has_record()


@_BOTH
def test_a_wrong_password(serving: Serving, way: str) -> None:
    """It is told over TLS, and recorded."""
    connect = secure.pop3s if way == "pop3s" else secure.stls
    said = secure.talk(connect(serving.listener, serving.issuer.trusted()), b"USER bob\r\nPASS guess\r\n")
    assert b"+OK \r\n-ERR authorization failed\r\n" == said
    assert " Reject::AUTH::User P:POP3S " in serving.listener.wait_for_records(1)[0]


@_BOTH
def test_curl(serving: Serving, bob: Account, way: str) -> None:
    """It insists on TLS, and reads a message."""
    options = ["--cacert", str(serving.issuer.root)]
    scheme, more = ("pop3s", []) if way == "pop3s" else ("pop3", ["--ssl-reqd"])
    user = f"{bob.name}:{bob.password}"
    done = clients.curl(serving.server(way), user, "2", *options, *more, scheme=scheme)
    assert (0, b"", SERVED[1]) == (done.returncode, done.stderr, done.stdout.replace(b"\r\n", b"\n"))
    assert serving.has_record()


@_BOTH
def test_mpop(serving: Serving, bob: Account, way: str, tmp_path: Path) -> None:
    """It pipelines, and fetches all."""
    mbox, starttls = tmp_path / "mbox", "off" if way == "pop3s" else "on"
    tls = ("--tls=on", f"--tls-starttls={starttls}", f"--tls-trust-file={serving.issuer.root}")
    done = clients.mpop(serving.server(way), bob, mbox, "--auth=user", "--pipelining=on", *tls)
    assert (0, "") == (done.returncode, done.stderr)
    assert clients.delivered(mbox)
    assert serving.has_record()


@_BOTH
def test_fetchmail(serving: Serving, bob: Account, way: str, tmp_path: Path) -> None:
    """It checks the certificate, and fetches all."""
    how = "ssl" if way == "pop3s" else 'sslproto "TLS1.2+"'
    done = clients.fetchmail(serving.port(way), how, bob, tmp_path, serving.issuer.root)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert clients.delivered(tmp_path / "mbox")
    assert serving.has_record()


def test_getmail(serving: Serving, bob: Account, tmp_path: Path) -> None:
    """It checks the certificate, and fetches all over POP3S."""
    done = clients.getmail(serving.port("pop3s"), bob, tmp_path, serving.issuer.root)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert clients.delivered(tmp_path / "mbox")
    assert serving.has_record()


@_BOTH
def test_net_pop3(serving: Serving, bob: Account, way: str) -> None:
    """Perl's client checks the certificate, and reads all."""
    done = clients.net_pop3(serving.port(way), bob, way, serving.issuer.root)
    assert (0, "") == (done.returncode, done.stderr)
    assert b"".join(SERVED).decode() == done.stdout.replace("\r\n", "\n")
    assert serving.has_record()


@_BOTH
def test_openssl(serving: Serving, bob: Account, way: str) -> None:
    """Whatever it sends at once behind its handshake goes through PASS, and it gets all of the reply."""
    (openssl,) = need("openssl")
    starttls = [] if way == "pop3s" else ["-starttls", "pop3"]
    where = ["-connect", f"localhost:{serving.port(way)}", *starttls]
    trust = ["-CAfile", str(serving.issuer.root), "-verify_return_error", "-verify_hostname", "localhost"]
    said = f"USER {bob.name}\r\nPASS {bob.password}\r\nRETR 1\r\nQUIT\r\n".encode()
    argv = [openssl, "s_client", *where, *trust, "-quiet", "-ign_eof"]
    done = subprocess.run(argv, input=said, capture_output=True, check=False, timeout=TIMEOUT)
    assert MESSAGES[0] in done.stdout.replace(b"\r\n", b"\n")
    assert serving.has_record()


def test_a_client_that_trusts_somebody_else(serving: Serving, bob: Account, tmp_path: Path) -> None:
    """It leaves before it has said its password, and nothing is recorded."""
    directory = tmp_path / "other"
    directory.mkdir()
    done = clients.net_pop3(serving.port("stls"), bob, "stls", Issuer(directory).root)
    assert 0 != done.returncode
    assert clients.net_pop3(serving.port("stls"), bob, "stls", serving.issuer.root).returncode == 0
    assert serving.has_record()
