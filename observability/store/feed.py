"""Counts the contents of a log.

The increments of a piece and the position after it are committed in one transaction, so each record counts
once, however often and whenever the sidecar is killed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from observability.arrivals.log import LogThread, Reading
from observability.arrivals.parsing import Event
from observability.errors import Log
from observability.store import families, increments
from observability.store.database import Store
from observability.store.families import Series

Shows = Mapping[str, Callable[[Reading], Sequence[Event]]]

# To wait at startup for the position to begin at; a hung file system may take longer.
_FIRST_SECONDS = 5.0


class Feed:
    """One log and its position in the store. `take` may raise sqlite3.Error: then call it again.

    active: sessions open according to the log, None if it does not show that
    """

    def __init__(
        self, thread: LogThread, store: Store, refusal_seconds: float, shows: Shows, log: Log
    ) -> None:
        """Commit the position at which the thread begins, if known in time. shows: events for each sink."""
        self._thread, self._store, self._log = thread, store, log
        self._refusal_seconds, self._shows = refusal_seconds, shows
        self.name = f"cannot count the log {thread.path}"
        self.active: int | None = 0
        self._pending: Reading | None = None
        thread.wait(_FIRST_SECONDS)
        # What was logged while nobody read.
        self._first = {name: events for name, events in self._commit().items() if events}

    @property
    def wake(self) -> int:
        """An eventfd that is written to when a piece is available."""
        return self._thread.wake

    @property
    def is_ready(self) -> bool:
        """Whether a piece can be committed at once; one that could not be is retried by each step.

        Otherwise a loop that never waits for something ready would spin while the store takes no commits.
        """
        return bool(self._first) or (self._pending is None and self._thread.is_ready)

    def look(self) -> None:
        """Raise the error that keeps the log from being read now, as a periodic task reports it."""
        if self.error:
            raise RuntimeError(self.error)

    @property
    def error(self) -> str:
        """Why the log cannot be read now, if so."""
        return self._thread.error

    def take(self) -> Mapping[str, Sequence[Event]]:
        """Commit the next piece; return the events for each sink, by its name."""
        first, self._first = self._first, {}
        return first or self._commit()

    def _commit(self) -> Mapping[str, Sequence[Event]]:
        reading = self._pending = self._pending or self._thread.take()
        if not reading:
            return {}
        added = _increments(reading, self._refusal_seconds)
        self._store.count(added, {mark(self._thread.path): reading.place}, is_event=bool(reading.logins))
        self._pending, self.active = None, reading.active
        for gap in reading.gaps:
            self._log("warning", f"lines of {self._thread.path} may have been missed: {gap}")
        return {name: make(reading) for name, make in self._shows.items()}

    def close(self) -> None:
        """Stop reading."""
        self._thread.close()


def mark(path: Path) -> str:
    """Return the name of the store's mark for a log's position."""
    return f"log {path}"


def _increments(reading: Reading, refusal_seconds: float) -> Mapping[Series, float]:
    added: defaultdict[Series, float] = defaultdict(float)
    added[families.DROPPED.name, "malformed"] = reading.overlong
    added[families.LOG_GAPS.name,] = len(reading.gaps)
    kinds = Counter((*login.record.kind, login.reason(refusal_seconds)) for login in reading.logins)
    for kind, number in kinds.items():
        for series in increments.of_logged(*kind):
            added[series] += number
    for session in reading.sessions:
        for series, amount in increments.of_logged_session(session):
            added[series] += amount
    return {series: amount for series, amount in added.items() if amount}
