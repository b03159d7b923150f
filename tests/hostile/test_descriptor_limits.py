"""As few descriptors as a session can live with: the mirror needs no more than that."""

import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import descriptors
from tests.support.descriptors import socket_line
from tests.support.listener import Listener, left_in
from tests.support.popup import LOGIN, Popup


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return a popup's environment with the mirror on; the spool is there, the socket is not."""
    (tmp_path / "spool").mkdir()
    paths = {"SIDECAR": tmp_path / "socket", "SPOOL": tmp_path / "spool"}
    return {"PATH": os.environ["PATH"], **{f"QMAIL_POPUP_{name}": str(path) for name, path in paths.items()}}


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Listener]:
    """Return a sidecar for which the test speaks."""
    with Listener(tmp_path / "socket") as listener:
        yield listener


def _limit(count: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


@pytest.mark.parametrize("count", [7, 8, 9, 10, 11, 12])
def test_an_event_reaches_the_sidecar(
    popup: list[str], env: dict[str, str], sidecar: Listener, tmp_path: Path, count: int
) -> None:
    """Over the session's connection where there is a number for it, else over one when all is closed."""
    with Popup(popup, ("/bin/false",), env=env, prepare=_limit(count)) as running:
        running.line.send(LOGIN)
        assert b"rejected" == _ended(sidecar)
        assert 1 == running.status()
    assert [] == left_in(tmp_path / "spool")


@pytest.mark.parametrize(("count", "wanted"), [(10, {6, 7, 8, 9}), (64, {*range(10, 64)})])
def test_where_its_connection_is(
    popup: list[str], env: dict[str, str], sidecar: Listener, count: int, wanted: set[int]
) -> None:
    """Above 9 where the limit allows; else at a number that means nothing."""
    with Popup(popup, env=env, prepare=_limit(count)) as running, closing(sidecar.accept()) as caller:
        caller.block()
        held = {int(name) for name in os.listdir(f"/proc/{running.process.pid}/fd")}
        running.line.end()
    assert {0, 1, 2, 5} < held
    assert {0, 1, 2, 5} == held - wanted


@pytest.mark.parametrize("count", [6, 7, 8, 9, 10])
def test_an_event_reaches_the_spool(
    popup: list[str], env: dict[str, str], tmp_path: Path, count: int
) -> None:
    """With no sidecar, as few as that leave room for a file once all is closed."""
    with Popup(popup, ("/bin/false",), env=env, prepare=_limit(count)) as running:
        running.talk(b"USER x\r\nQUIT\r\n")
        assert running.status() in (0, 1)
    assert 1 == len(left_in(tmp_path / "spool"))


@pytest.mark.parametrize("count", [12, 13, 14, 15, 16, 20])
def test_an_event_over_tls_reaches_the_sidecar(
    popup: list[str], env: dict[str, str], sidecar: Listener, count: int
) -> None:
    """With the numbers that sslserver gives its three descriptors. Without a mirror STLS needs as many."""
    control, far = socket.socketpair()
    clear, far_reader, far_writer = socket_line()
    told = {**env, "UCSPITLS": "", "SSLCTLFD": "4", "SSLREADFD": "6", "SSLWRITEFD": "7"}
    fds = {4: far.fileno(), 6: far_reader, 7: far_writer}
    with control, Popup(popup, ("/bin/false",), env=told, fds=fds, prepare=_limit(count)) as running:
        descriptors.close({far.detach(), far_reader, far_writer})
        running.line.send(b"STLS\r\n")
        assert b"Y" == control.recv(1)
        control.sendall(b"\0")
        clear.send(LOGIN)
        assert b"rejected" == _ended(sidecar)
        assert 1 == running.status()
        assert clear.receive_all().endswith(b"-ERR authorization failed\r\n")
    clear.close()


def _ended(sidecar: Listener) -> bytes:
    """Take the event, over the session's connection or over another, and acknowledge it."""
    while True:
        with closing(sidecar.accept()) as caller:
            while block := caller.block():
                if b"ENDED" in block:
                    caller.acknowledge()
                    return block[b"ENDED"]
