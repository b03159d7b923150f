"""SIGHUP: certificates and credentials are read again, and nothing else happens."""

import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from observability.arrivals.signals import Reload
from observability.errors import UnusableError
from tests.support import authority
from tests.support.peer import OK, Peer
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    """Put the handler back that the test runner had."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_each_part_is_read_again_whatever_the_others_do() -> None:
    """What went wrong with one of them is reported."""
    reports: list[tuple[str, str]] = []
    read: list[str] = []

    def fail() -> None:
        raise UnusableError("why")

    reload = Reload(lambda name, error: reports.append((name, error)))
    reload.parts.update({"a": fail, "b": lambda: read.append("b")})
    os.kill(os.getpid(), signal.SIGHUP)
    until(lambda: len(reports) == 2)
    assert ([("a", "why"), ("b", "")], ["b"]) == (reports, read)


def test_the_sidecar_serves_a_new_certificate(tmp_path: Path) -> None:
    """Without a restart; and where it is broken it says so, and serves the old one."""
    old, new = (authority.make(_made(tmp_path / name)) for name in ("old", "new"))
    certificate, key = tmp_path / "served.pem", tmp_path / "served.key"
    _copy(old, certificate, key)
    with RunningSidecar(tmp_path, f"--tls-cert={certificate}", f"--tls-key={key}") as sidecar:
        before = _served(sidecar)
        certificate.write_text("nonsense")
        sidecar.signal(signal.SIGHUP)
        until(lambda: "cannot use --tls-cert" in sidecar.said)
        assert before == _served(sidecar)
        _copy(new, certificate, key)
        sidecar.signal(signal.SIGHUP)
        until(lambda: _served(sidecar) != before)
        assert 0 == sidecar.stop()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _copy(made: authority.Authority, certificate: Path, key: Path) -> None:
    certificate.write_bytes(made.certificate.read_bytes())
    key.write_bytes(made.key.read_bytes())


def _served(sidecar: RunningSidecar) -> str:
    where = urlsplit(sidecar.url)
    return ssl.get_server_certificate((where.hostname or "", where.port or 0))


def test_the_sidecar_pushes_with_new_credentials(tmp_path: Path) -> None:
    """Each push carries those that were read last."""
    credentials = tmp_path / "credentials"
    credentials.write_text("joe:old")
    with Peer() as peer:
        peer.answer(*[OK] * 1000)
        options = (f"--push={peer.url}", "--push-interval=0.1", f"--push-credentials={credentials}")
        with RunningSidecar(tmp_path, *options) as sidecar:
            assert b"Basic am9lOm9sZA==" in peer.request()
            credentials.write_text("joe:new")
            sidecar.signal(signal.SIGHUP)
            until(lambda: b"Basic am9lOm5ldw==" in peer.request())
            assert 0 == sidecar.stop()
