"""Events that wait in the sidecar's backlog, more than it reads at once."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from observability.arrivals.connection import ACKNOWLEDGEMENT
from observability.arrivals.connections import Intake
from observability.event import build
from tests.support.keeper import Keeper
from tests.support.scraper import counts
from tests.support.sidecar import connect, fields
from tests.support.waiting import TIMEOUT

_PARKED = 700
_TICK_SECONDS = 0.8


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.mark.parametrize("move", [False, True], ids=["stops listening", "listens elsewhere"])
def test_only_what_was_handed_out_is_acknowledged(tmp_path: Path, *, move: bool) -> None:
    """An event accepted while the socket is moved or closed waits for its commit like any other."""
    wake, other = os.pipe()
    listener = _listener(tmp_path / "one")
    with (
        closing(Intake(listener, wake, time.monotonic)) as intake,
        connect(tmp_path / "one", build(fields())) as popup,
    ):
        if move:
            intake.move(_listener(tmp_path / "two"))
        else:
            intake.stop_listening()
        intake.acknowledge()
        popup.settimeout(0)
        with pytest.raises(BlockingIOError):
            popup.recv(1)
        assert 1 == len(intake.arrivals(0))
        intake.acknowledge()
        assert ACKNOWLEDGEMENT == popup.recv(1)
    os.close(wake)
    os.close(other)


def _end(keeper: Keeper) -> None:
    assert 0 == keeper.stop()
    keeper.start()


def _hide(keeper: Keeper) -> None:
    keeper.socket.unlink()
    keeper.go_on()


def _is_acknowledged(peer: socket.socket) -> bool:
    with suppress(ConnectionError):
        return bool(peer.recv(1))
    return False


@pytest.mark.parametrize("happens", [_end, _hide], ids=["told to end", "socket removed"])
def test_what_is_acknowledged_is_counted(tmp_path: Path, happens: Callable[[Keeper], None]) -> None:
    """A sidecar that is stopped, or must recreate its socket, acknowledges no event that it then loses."""
    with Keeper(tmp_path) as keeper, ExitStack() as stack:
        keeper.start().hold()
        popups = [stack.enter_context(connect(keeper.socket, build(fields()))) for _ in range(_PARKED)]
        time.sleep(_TICK_SECONDS)  # so that a tick is also due when it resumes
        happens(keeper)
        for popup in popups:
            popup.settimeout(TIMEOUT)
        acknowledged = sum(map(_is_acknowledged, popups))
        assert acknowledged <= counts(keeper.drained(), "auth_attempts_total").total() <= _PARKED
