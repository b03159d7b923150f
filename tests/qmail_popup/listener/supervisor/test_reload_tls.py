"""Reloading a listener that speaks TLS: certificates that were renewed or are broken, and load."""

import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import secure
from tests.support.issuer import ECDSA, Issuer
from tests.support.load import Load
from tests.support.resident import LOGIN, Listener, read_all, read_line
from tests.support.secure import Client

_SERVED = b"+OK\r\n+OK \r\n"
_HANGING = ("/bin/sh", "-c", "echo begun; read line; echo $line")


class Renewed(NamedTuple):
    """A host whose certificate can be replaced by another."""

    issuer: Issuer
    certificate: Path
    key: Path
    options: tuple[str, ...]

    def shown(self, listener: Listener) -> bytes:
        """Return the certificate that a client sees."""
        with secure.pop3s(listener, self.issuer.trusted()) as client:
            return client.tls.getpeercert(binary_form=True) or b""

    def renew(self) -> bytes:
        """Put another pair in place; its certificate as clients see it."""
        _, certificate, _, key = self.issuer.issue("new", ECDSA, "localhost")
        Path(certificate).replace(self.certificate)
        Path(key).replace(self.key)
        pem = self.certificate.read_text()
        return ssl.PEM_cert_to_DER_cert(pem[: pem.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)])


@pytest.fixture
def host(tmp_path: Path) -> Renewed:
    """Return one with a certificate."""
    issuer = Issuer(tmp_path)
    options = issuer.issue("host", ECDSA, "localhost")
    return Renewed(issuer, Path(options[1]), Path(options[3]), ("--pop3s", "127.0.0.1:0", *options))


def log_in(client: Client) -> None:
    """Log in, and wait until the subprogram has begun."""
    client.sendall(LOGIN)
    while read_line(client) != b"begun\n":
        pass


@pytest.mark.parametrize("connect", [secure.pop3s, secure.stls])
def test_a_new_certificate(host: Renewed, tmp_path: Path, connect: secure.Connect) -> None:
    """It is shown from the reload on; sessions of before go on, logged in or not."""
    with (
        Listener(tmp_path, "--workers", "1", *host.options, subprogram=_HANGING) as listener,
        connect(listener, host.issuer.trusted()) as logged_in,
        connect(listener, host.issuer.trusted()) as idle,
    ):
        log_in(logged_in)
        new = host.renew()
        assert new != host.shown(listener)
        listener.reload()
        assert new == host.shown(listener)
        logged_in.sendall(b"still here\n")
        assert b"still here\n" == read_all(logged_in)
        log_in(idle)
        idle.sendall(b"here too\n")
        assert b"here too\n" == read_all(idle)
        assert 2 == len(listener.wait_for_records(2))


def _another_key(host: Renewed) -> None:
    host.issuer.issue("other", ECDSA, "localhost")
    host.issuer.key("other").replace(host.key)


BROKEN: dict[str, tuple[Callable[[Renewed], object], str]] = {
    "gone": (lambda host: host.certificate.unlink(), "cannot read {certificate}: No such file or directory"),
    "no key": (lambda host: host.key.unlink(), "cannot read {key}: No such file or directory"),
    "another key": (_another_key, "the key in {key} is not that of the certificate in {certificate}"),
    "garbage": (lambda host: host.certificate.write_text("garbage"), "no certificate in {certificate}"),
    "cut short": (
        lambda host: host.certificate.write_bytes(host.certificate.read_bytes()[:200]),
        "no certificate in {certificate}",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_certificate(host: Renewed, tmp_path: Path, what: str) -> None:
    """It is one line, the old one stays in force, and a good one is taken after that."""
    harm, why = BROKEN[what]
    with Listener(tmp_path, "--workers", "1", *host.options) as listener:
        old = host.shown(listener)
        harm(host)
        said = listener.refuses_to_reload()
        expected = why.format(certificate=host.certificate, key=host.key)
        assert f"qmail-popup-listener: not reloaded, nothing has changed: {expected}\n" == said
        assert old == host.shown(listener)
        new = host.renew()
        listener.reload()
        assert new == host.shown(listener)


def test_under_load(host: Renewed, tmp_path: Path) -> None:
    """No handshake fails, and each login has its record."""
    with Listener(tmp_path, "--workers", "2", *host.options) as listener:
        connect = partial(Client, context=host.issuer.trusted())
        with Load(lambda: connect(secure.bare(listener)), LOGIN, clients=4) as load:
            for _ in range(3):
                load.wait_for_more(10)
                listener.reload()
            load.stop()
        assert {_SERVED} == set(load.answers)
        assert len(load.answers) == len(listener.wait_for_records(len(load.answers)))
