"""A sidecar whose files are removed or replaced while it runs; and what its manager hears when it stops."""

import fcntl
import shutil
import signal
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from observability.event import build
from observability.sidecar import TICK_SECONDS
from tests.support.sidecar import SESSION, RunningSidecar, connect, deliver, fields, leave, refused
from tests.support.waiting import TIMEOUT, eventually


def test_a_spool_that_is_removed_is_made_again(sidecar: RunningSidecar) -> None:
    """It is counted and logged once, and events that come after it count."""
    shutil.rmtree(sidecar.spool)
    assert sidecar.reaches(1, "telemetry_paths_lost_total", path="spool")
    leave(sidecar, build(fields()))
    assert sidecar.reaches(1, "sessions_total", **SESSION)
    assert 1 == sidecar.said.count(f"the spool {sidecar.spool} was removed or replaced")
    assert 0o42770 == sidecar.spool.stat().st_mode


def test_a_state_directory_that_is_removed_is_made_again(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """All that was counted is there after a kill, and is counted no second time."""
    told = build(fields())
    assert deliver(sidecar.socket, told)
    for file in tmp_path.glob("state.sqlite*"):
        file.unlink()
    for path in ("state", "store_lock"):
        assert sidecar.reaches(1, "telemetry_paths_lost_total", path=path)
    assert deliver(sidecar.socket, build(fields()))
    assert "another sidecar" in refused(tmp_path, "--socket", str(tmp_path / "other.sock")).stderr
    sidecar.kill()
    with RunningSidecar(tmp_path) as after:
        assert deliver(after.socket, told)
        assert 2 == after.value("sessions_total", **SESSION)


def test_a_state_that_is_replaced_ends_the_sidecar(sidecar: RunningSidecar) -> None:
    """With one line and status 1; what stands there is left as it is."""
    sidecar.state.unlink()
    sidecar.state.write_bytes(b"another")
    assert 1 == sidecar.process.wait(TIMEOUT)
    assert 1 == sidecar.said.count(f"the store {sidecar.state} was replaced by another file")
    assert b"another" == sidecar.state.read_bytes()


def test_a_pusher_lock_that_is_removed_is_made_again(sidecar: RunningSidecar) -> None:
    """So no popup starts a pusher beside the sidecar."""
    (sidecar.spool / "pusher.lock").unlink()
    assert sidecar.reaches(1, "telemetry_paths_lost_total", path="pusher_lock")
    with (sidecar.spool / "pusher.lock").open("rb") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("is_mended", [True, False])
def test_another_file_at_the_path_of_the_socket_is_told(sidecar: RunningSidecar, *, is_mended: bool) -> None:
    """A socket that nobody serves gives way to a new one; anything else is left as it is, and told once."""
    sidecar.socket.unlink()
    if is_mended:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(sidecar.socket))
    else:
        sidecar.socket.write_bytes(b"in the way")
    assert sidecar.reaches(1, "telemetry_paths_lost_total", path="socket")
    if not is_mended:
        time.sleep(2 * TICK_SECONDS)  # it has looked again
        assert b"in the way" == sidecar.socket.read_bytes()
        assert 1 == sidecar.value("telemetry_paths_lost_total", path="socket")
        assert 1 == sidecar.said.count("is not a socket")
        sidecar.socket.unlink()
        assert eventually(sidecar.socket.exists)
    assert b"\n" == deliver(sidecar.socket, build(fields()))


def test_stopping_is_told_when_it_begins(tmp_path: Path) -> None:
    """What is still to be done may take seconds, and a manager that hears nothing would take it for dead."""
    manager = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(manager))
        notified.settimeout(TIMEOUT)
        with (
            RunningSidecar(tmp_path, environ={"NOTIFY_SOCKET": str(manager)}) as sidecar,
            closing(sqlite3.connect(sidecar.state, isolation_level=None)) as other,
        ):
            assert b"READY=1" == notified.recv(64)
            other.execute("BEGIN IMMEDIATE")
            with connect(sidecar.socket, build(fields())) as popup:
                assert eventually(lambda: "cannot commit" in sidecar.said)
                sidecar.signal(signal.SIGTERM)
                assert b"STOPPING=1" == notified.recv(64)
                other.execute("ROLLBACK")
                assert b"\n" == popup.recv(1)  # so it has not ended before
            assert 0 == sidecar.process.wait(TIMEOUT)
