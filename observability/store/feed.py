"""What a log that is read adds to the families, committed with the place behind it.

Owns the promise for logs: what a piece counts and how far the log was read are one transaction, so a record
counts once, however often and whenever the sidecar is killed.
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

# To wait at the start for the place to begin at; a file system that hangs may take longer.
_FIRST_SECONDS = 5.0


class Feed:
    """One log and its place in the store. `take` may raise sqlite3.Error: then it is to be called again.

    active: sessions that are open by the log, None where it does not tell
    """

    def __init__(
        self, thread: LogThread, store: Store, refusal_seconds: float, shows: Shows, log: Log
    ) -> None:
        """Commit where the thread begins, if that is known soon. shows: what each sink gets, by its name."""
        self._thread, self._store, self._log = thread, store, log
        self._refusal_seconds, self._shows = refusal_seconds, shows
        self.name = f"cannot count the log {thread.path}"
        self.active: int | None = 0
        self._pending: Reading | None = None
        thread.wait(_FIRST_SECONDS)
        self.take()

    @property
    def wake(self) -> int:
        """A descriptor on which there is news once there is something to take."""
        return self._thread.wake

    @property
    def is_ready(self) -> bool:
        """Whether there is something to take."""
        return self._pending is not None or self._thread.is_ready

    def look(self) -> None:
        """Raise what keeps the log from being read now, for whoever notes errors."""
        if self.error:
            raise RuntimeError(self.error)

    @property
    def error(self) -> str:
        """Why the log cannot be read now, if it cannot."""
        return self._thread.error

    def take(self) -> Mapping[str, Sequence[Event]]:
        """Commit the next piece; return what is to be shown, by the names of the sinks."""
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
        """Read no more."""
        self._thread.close()


def mark(path: Path) -> str:
    """Return the name under which the store keeps the place of a log."""
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
