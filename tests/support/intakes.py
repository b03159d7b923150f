"""An intake in this process, its socket, and helpers for both."""

import select
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from observability.arrivals.connections import Intake
from observability.arrivals.listener import BACKLOG
from observability.arrivals.parsing import Arrival
from tests.support.arrivals import Clock

ENOUGH = 10.0  # seconds, for something that is available at once


def listening(path: Path) -> socket.socket:
    """Listen at path."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(BACKLOG)
    return listener


@contextmanager
def serving(listener: socket.socket, clock: Clock, most: int = 3) -> Iterator[Intake]:
    """Yield an intake for `listener` with a limit on connections; nothing wakes it."""
    silent, quiet = socket.socketpair()
    with silent, quiet, closing(Intake(listener, silent.fileno(), clock, most)) as intake:
        yield intake


def settled(intake: Intake) -> list[Arrival]:
    """Return everything sent so far; a Unix socket delivers without delay."""
    arrivals = intake.arrivals(0)
    while not intake.is_idle:
        arrivals += intake.arrivals(0)
    return arrivals


def is_silent(peer: socket.socket) -> bool:
    """Return whether nothing arrived, not even end of file."""
    return not select.select([peer], [], [], 0)[0]
