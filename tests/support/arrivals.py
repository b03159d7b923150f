"""What came in, by its names; and a clock to set."""

from observability.arrivals.parsing import Arrival, Event, Malformed
from observability.arrivals.spool import Spool


class Clock:
    """Monotonic seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


def reasons(arrivals: list[Arrival]) -> list[str]:
    """Return what is wrong with those that are malformed, and which way the others came."""
    return [what.reason if isinstance(what, Malformed) else source for source, what in arrivals]


def identities(arrivals: list[Arrival]) -> list[bytes]:
    """Return the identities of well-formed arrivals."""
    return [what.identity for _, what in arrivals if isinstance(what, Event)]


def drained(spool: Spool) -> tuple[list[Arrival], float | None]:
    """Drain once; return what was there, and when a complete drain began."""
    spool.begin()
    arrivals, began = [], None
    while spool.is_draining:
        arrivals += spool.arrivals()
        began = spool.settle()
    return arrivals, began
