"""How popups start a pusher: one for all of them, and with nothing of the session's."""

import os
import resource
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.gateway import Pushgateway
from tests.support.popup import LOGIN, REFUSES, Popup
from tests.support.processes import opened
from tests.support.spooling import lost
from tests.support.unattended import Unattended, attempts
from tests.support.waiting import TIMEOUT, until

NOBODY = "http://127.0.0.1:9"
_SHELL = {b"PWD=%s" % str(CHECKOUT).encode()}
"""What the shell adds that runs our wrapper around the pusher."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Pushgateway]:
    """Give a gateway that serves."""
    directory = tmp_path / "gateway"
    directory.mkdir()
    with Pushgateway(directory) as gateway:
        yield gateway


def test_a_hundred_sessions_start_one_pusher(tmp_path: Path, installed: Path, gateway: Pushgateway) -> None:
    """Who finds the lock taken starts nothing; all events are pushed, those of the last ones too."""
    with Unattended(tmp_path, installed, gateway.url, interval=2) as host:
        host.sessions(100)
        assert 1 == len(host.starts())
        host.settle()
        assert 1 == len(host.starts())
    assert 100 == attempts(gateway)
    assert [] == [path.name for path in host.spool.iterdir() if path.name not in {"pusher.lock", "lost"}]
    assert 1 == lost(host.spool)  # its mark


def test_it_has_nothing_of_the_session(tmp_path: Path, installed: Path, gateway: Pushgateway) -> None:
    """The client's socket closes and the popup ends while the pusher lives, on descriptors of its own."""
    reader, writer = os.pipe()
    with Unattended(tmp_path, installed, gateway.url) as host:
        env = {"PATH": os.environ["PATH"], "SESSION": "x", "SSL_CERT_FILE": "/dev/null", **host.environment}
        with Popup(host.popup, REFUSES, env=env, fds={7: writer}) as popup:
            os.close(writer)
            assert popup.talk(LOGIN).endswith(b"-ERR authorization failed\r\n")
            assert 1 == popup.status()
            assert b"" == os.read(reader, 1)
            until(Path(f"{host.state}-wal").exists)
            (pid,) = host.pushers()
            _is_on_its_own(pid, host)
        os.close(reader)


def _is_on_its_own(pid: int, host: Unattended) -> None:
    links = opened(pid)
    ours = ("/dev/null", str(host.spool.parent), "socket:")
    assert [] == [link for link in links.values() if not link.startswith(ours)]
    assert sum(link.startswith("socket:") for link in links.values()) <= 1  # the one to the gateway
    assert str(host.spool / "pusher.lock") == links[0]
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    assert {b"SSL_CERT_FILE=/dev/null"} == set(filter(None, environ.split(b"\0"))) - _SHELL
    assert pid == os.getsid(pid)
    assert 1 == len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_no_password_is_to_be_seen(tmp_path: Path, installed: Path) -> None:
    """The credentials are in a file: not in a command line, an environment, or what is said."""
    credentials = tmp_path / "credentials"
    credentials.write_text("bob:geheim\n")
    with Unattended(tmp_path, installed, NOBODY) as host:
        env = {**os.environ, **host.environment, "QMAIL_POPUP_PUSH_CREDENTIALS": str(credentials)}
        with Popup(host.popup, ("/bin/sh", "-c", "env >&2; exit 1"), env=env) as popup:
            said = popup.talk(LOGIN)
            popup.status()
        assert b"QMAIL_POPUP" not in said
        until(lambda: bool(host.pushers()))
        (pid,) = host.pushers()
        until(lambda: b"python" in Path(f"/proc/{pid}/cmdline").read_bytes())
        assert b"--push-credentials=" in Path(f"/proc/{pid}/cmdline").read_bytes()
        for file in ("cmdline", "environ"):
            assert b"geheim" not in Path(f"/proc/{pid}/{file}").read_bytes()


def test_beside_a_sidecar_none_is_started(tmp_path: Path, installed: Path) -> None:
    """Pushing is the sidecar's business, also while it is away: the event waits for it."""
    with Unattended(tmp_path, installed, NOBODY) as host:
        env = {**os.environ, **host.environment, "QMAIL_POPUP_SIDECAR": str(tmp_path / "away.sock")}
        with Popup(host.popup, REFUSES, env=env) as popup:
            popup.talk(LOGIN)
            popup.status()
        assert [] == host.starts()
        assert b"'bob'" in (host.spool / "spool").read_bytes()


def test_a_gateway_with_a_user_in_its_url_starts_nothing(tmp_path: Path, installed: Path) -> None:
    """The URL would be in `ps`: the event stays in the spool until the operator has seen to it."""
    with Unattended(tmp_path, installed, "http://bob:geheim@127.0.0.1:9") as host:
        host.sessions(1)
        assert [] == host.starts()
        assert b"'bob'" in (host.spool / "spool").read_bytes()


def test_descriptors_above_a_limit_that_was_lowered_are_none_of_its_business(
    tmp_path: Path, installed: Path
) -> None:
    """Whoever opened one before the limit was lowered waits for its end."""
    reader, writer = os.pipe()
    with Unattended(tmp_path, installed, NOBODY, interval=60) as host:

        def lower() -> None:
            os.dup2(7, 500)
            os.close(7)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        env = {**os.environ, **host.environment}
        with Popup(host.popup, REFUSES, env=env, fds={7: writer}, prepare=lower) as popup:
            os.close(writer)
            popup.talk(LOGIN)
            assert 1 == popup.status()
        until(lambda: bool(host.pushers()))
        assert [reader] == select.select([reader], [], [], TIMEOUT)[0]
        assert b"" == os.read(reader, 1)
    os.close(reader)
