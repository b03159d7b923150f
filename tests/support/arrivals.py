"""Short forms of arrivals, and a clock that tests set."""

from observability.arrivals.parsing import Arrival, Event, Malformed
from observability.arrivals.spool import Spool


class Clock:
    """A monotonic clock that tests advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def reasons(arrivals: list[Arrival]) -> list[str]:
    """Return the reason of each malformed arrival, and the source of each other one."""
    return [what.reason if isinstance(what, Malformed) else source for source, what in arrivals]


def identities(arrivals: list[Arrival]) -> list[bytes]:
    """Return the identities of well-formed arrivals."""
    return [what.identity for _, what in arrivals if isinstance(what, Event)]


def drained(spool: Spool) -> tuple[list[Arrival], float | None]:
    """Drain once; return the arrivals, and when a complete drain began."""
    spool.begin()
    arrivals, began = [], None
    while spool.is_draining:
        arrivals += spool.arrivals()
        began = spool.settle()
    return arrivals, began
