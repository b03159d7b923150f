"""What a batch of arrivals adds, given what was counted before: deduplication.

Owns the rule by which everything counts once: an identity stands for two facts, that its session was
counted and that its record was, and only a fact that was not known yet adds anything. Pure: the store
looks the facts up and writes down what comes out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from observability.arrivals.parsing import KILLED, SOCKET, SPOOL, Arrival, Event, Malformed
from observability.store import families
from observability.store.families import Increment, Series

SESSION_COUNTED = 1
RECORD_COUNTED = 2


class Exemplar(NamedTuple):
    """The latest session behind a series, as OpenMetrics has it."""

    trace: str
    value: float
    time: float  # seconds since 1970


class Batch:
    """What one transaction is to write: facts that changed, increments, and what was new in it."""

    def __init__(self, known: Mapping[bytes, int], now: float) -> None:
        """Start from the facts that are known of the identities at hand. now: seconds since 1970."""
        self._known = dict(known)
        self._now = now
        self.changed: dict[bytes, int] = {}
        self.increments: defaultdict[Series, float] = defaultdict(int)
        self._latest: dict[Series, tuple[Event, float]] = {}
        self.counted: list[Event] = []

    @property
    def exemplars(self) -> dict[Series, Exemplar]:
        """Return the latest session behind each series that has one."""
        return {
            series: Exemplar(event.trace, measured, self._now)
            for series, (event, measured) in self._latest.items()
        }

    def add(self, arrivals: Iterable[Arrival]) -> None:
        """Take in what arrived, in its order."""
        for arrival in arrivals:
            if isinstance(arrival.what, Malformed):
                self._drop("malformed")
            else:
                self._take(arrival, arrival.what)

    def _take(self, arrival: Arrival, event: Event) -> None:
        identity = event.identity
        known = self._known.get(identity, 0)
        new = _FACTS[arrival.source](event) & ~known
        if arrival.source != KILLED:
            self.increments[families.EVENTS.name, arrival.source] += 1
        if not new:
            if arrival.source != KILLED:
                self._drop("duplicate")
            return
        self._known[identity] = self.changed[identity] = known | new
        self._count(arrival, event, new)
        self.counted.append(event)

    def _count(self, arrival: Arrival, event: Event, new: int) -> None:
        for fact, increments in _INCREMENTS[arrival.source].items():
            if new & fact:
                for series, amount, measured in increments(event):
                    self.increments[series] += amount
                    if measured is not None:
                        self._latest[series] = event, measured

    def _drop(self, reason: str) -> None:
        self.increments[families.DROPPED.name, reason] += 1


def _facts_of_event(event: Event) -> int:
    return SESSION_COUNTED | RECORD_COUNTED if event.record else SESSION_COUNTED


def _facts_of_killed(_hello: Event) -> int:
    return SESSION_COUNTED


_FACTS: dict[str, Callable[[Event], int]] = {
    SOCKET: _facts_of_event,
    SPOOL: _facts_of_event,
    KILLED: _facts_of_killed,
}
_OF_EVENT = {SESSION_COUNTED: families.of_session, RECORD_COUNTED: families.of_record}
_INCREMENTS: Mapping[str, Mapping[int, Callable[[Event], Iterable[Increment]]]] = {
    SOCKET: _OF_EVENT,
    SPOOL: _OF_EVENT,
    KILLED: {SESSION_COUNTED: families.of_killed},
}
