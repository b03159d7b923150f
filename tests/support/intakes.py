"""An intake in this process, the socket that it serves, and what is to be had from both."""

import select
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from observability.arrivals.connections import Intake
from observability.arrivals.listener import BACKLOG
from observability.arrivals.parsing import Arrival
from tests.support.arrivals import Clock

ENOUGH = 10.0  # seconds, for what is there at once


def listening(path: Path) -> socket.socket:
    """Listen at path."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(BACKLOG)
    return listener


@contextmanager
def serving(listener: socket.socket, clock: Clock, most: int = 3) -> Iterator[Intake]:
    """Give an intake of listener that serves so many connections at most, and that nobody wakes."""
    silent, quiet = socket.socketpair()
    with silent, quiet, closing(Intake(listener, silent.fileno(), clock, most)) as intake:
        yield intake


def settled(intake: Intake) -> list[Arrival]:
    """Return all that is there; a Unix socket has no way between one end and the other."""
    arrivals = intake.arrivals(0)
    while not intake.is_idle:
        arrivals += intake.arrivals(0)
    return arrivals


def is_silent(peer: socket.socket) -> bool:
    """Whether nothing came, not even the end."""
    return not select.select([peer], [], [], 0)[0]
