"""Deduplication: what a batch of arrivals adds, given what was counted before.

Owns the rule by which everything counts once: an identity has two facts, that its session was counted and
that its record was, and only a new fact adds anything. Pure: the store looks the facts up and saves the
result.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from observability.arrivals.parsing import KILLED, SOCKET, SPOOL, Arrival, Event, Malformed
from observability.store import families, increments
from observability.store.families import Series
from observability.store.increments import Increment, Kind, Measures

SESSION_COUNTED = 1
RECORD_COUNTED = 2


class Exemplar(NamedTuple):
    """The latest session counted in a series, as in OpenMetrics."""

    trace: str
    value: float
    time: float  # seconds since 1970


class _Tally:
    """The sessions of one kind in a batch."""

    __slots__ = ("at", "event", "latest", "totals")

    def __init__(self) -> None:
        self.totals = [0.0, 0.0, 0.0]
        self.at = 0  # index in the batch of its latest event
        self.latest: Measures
        self.event: Event

    def add(self, at: int, event: Event, measures: Measures) -> None:
        totals, (one, seconds, auth_seconds) = self.totals, measures
        totals[0] += one
        totals[1] += seconds
        totals[2] += auth_seconds
        self.at, self.event, self.latest = at, event, measures


class Batch:
    """The contents of one transaction: changed facts, increments, and new events."""

    def __init__(self, known: Mapping[bytes, int], now: float) -> None:
        """known: facts of the identities in the batch; now: seconds since 1970."""
        self._known = dict(known)
        self._now = now
        self.changed: dict[bytes, int] = {}
        self._arrived: defaultdict[Series, float] = defaultdict(int)
        self._tallies: defaultdict[tuple[str, int, Kind], _Tally] = defaultdict(_Tally)
        self.counted: list[Event] = []

    def increments(self) -> dict[Series, float]:
        """Return the increment of each series."""
        added = self._arrived.copy()
        for (source, new, kind), tally in self._tallies.items():
            for series, amount, _ in _increments(source, new, kind):
                added[series] += tally.totals[amount]
        return added

    def exemplars(self) -> dict[Series, Exemplar]:
        """Return the exemplar of each series that has one."""
        exemplars = {}
        for (source, new, kind), tally in sorted(self._tallies.items(), key=lambda item: item[1].at):
            for series, _, measure in _increments(source, new, kind):
                if measure is not None:
                    exemplars[series] = Exemplar(tally.event.trace, tally.latest[measure], self._now)
        return exemplars

    def add(self, arrivals: Iterable[Arrival]) -> None:
        """Add arrivals in order."""
        for source, what in arrivals:
            if isinstance(what, Malformed):
                self._drop("malformed")
            else:
                self._take(source, what)

    def _take(self, source: str, event: Event) -> None:
        identity = event.identity
        known = self._known.get(identity, 0)
        new = _facts(source, event) & ~known
        if source != KILLED:
            self._arrived[_EVENTS[source]] += 1
        if not new:
            if source != KILLED:
                self._drop("duplicate")
            return
        self._known[identity] = self.changed[identity] = known | new
        kind, measures = increments.kind(event)
        self._tallies[source, new, kind].add(len(self.counted), event, measures)
        self.counted.append(event)

    def _drop(self, reason: str) -> None:
        self._arrived[families.DROPPED.name, reason] += 1


def _increments(source: str, new: int, kind: Kind) -> Iterator[Increment]:
    """Yield the increments of a session of this kind, given its new facts."""
    for fact, of in _INCREMENTS[source].items():
        if new & fact:
            yield from of(kind)


def _facts(source: str, event: Event) -> int:
    """Return what an arrival says: that its session has ended, and perhaps a record."""
    return SESSION_COUNTED | RECORD_COUNTED if event.method and source != KILLED else SESSION_COUNTED


_EVENTS: Mapping[str, Series] = {source: (families.EVENTS.name, source) for source in (SOCKET, SPOOL)}
_OF_EVENT = {SESSION_COUNTED: increments.of_session, RECORD_COUNTED: increments.of_record}
_INCREMENTS: Mapping[str, Mapping[int, Callable[[Kind], Iterable[Increment]]]] = {
    SOCKET: _OF_EVENT,
    SPOOL: _OF_EVENT,
    KILLED: {SESSION_COUNTED: increments.of_killed},
}
