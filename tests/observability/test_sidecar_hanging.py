"""A sidecar beside file systems that hang: what needs them waits, and nothing else does."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from observability.event import build
from observability.sidecar import TICK_SECONDS
from tests.support.descriptors import CHECKOUT
from tests.support.mounts import hanging, mounted
from tests.support.sidecar import SESSION, RunningSidecar, deliver, fields, leave

_EXPOSED = "textfile.prom"
_ENVIRON = {"PYTHONPATH": str(CHECKOUT)}  # who enters is in / then


@pytest.fixture
def enter() -> Iterator[tuple[str, ...]]:
    """Return what enters a mount namespace in which nothing hangs yet."""
    with mounted("true") as (command, _):
        yield command


def _directory(sidecar: RunningSidecar, tmp_path: Path, name: str) -> Path:
    return {"spool": sidecar.spool, "socket": sidecar.socket.parent, "textfile": tmp_path / "exposed"}[name]


@pytest.mark.parametrize("name", ["spool", "socket", "textfile"])
def test_a_file_system_that_hangs_holds_up_nothing_else(
    tmp_path: Path, enter: tuple[str, ...], name: str
) -> None:
    """Events are counted, acknowledged and shown; the spool's last figure stands; SIGTERM ends it."""
    (tmp_path / "exposed").mkdir()
    textfile = f"--textfile={tmp_path / 'exposed' / _EXPOSED}"
    address = tmp_path / "other" / "sidecar.sock"  # the same socket, by a name that does not hang
    with RunningSidecar(tmp_path, textfile, "--push-interval=0.1", prefix=enter, environ=_ENVIRON) as sidecar:
        address.parent.mkdir()
        address.hardlink_to(sidecar.socket)
        with hanging(_directory(sidecar, tmp_path, name), enter):
            time.sleep(2 * TICK_SECONDS)  # it has looked, and waits
            assert b"\n" == deliver(address, build(fields()))
            assert 1 == sidecar.value("sessions_total", **SESSION)
            assert 0 == sidecar.value("telemetry_spool_bytes")
            assert 0 == sidecar.stop()


def test_a_spool_that_hung_is_drained_once_it_answers(tmp_path: Path, enter: tuple[str, ...]) -> None:
    """What was left before and after counts, and a spool that hung is not a lost one."""
    with RunningSidecar(tmp_path, prefix=enter, environ=_ENVIRON) as sidecar:
        with hanging(sidecar.spool, enter):
            time.sleep(2 * TICK_SECONDS)
        leave(sidecar, build(fields()))
        assert sidecar.reaches(1, "sessions_total", **SESSION)
        assert 0 == sidecar.value("telemetry_paths_lost_total", path="spool")
