"""The store: values of all series and the identities already counted, in one SQLite file.

Guarantees that a committed event is neither lost nor counted again, however the process ends: facts and
increments go into one transaction, and only committed values are shown. `committed` is replaced as a whole at
each commit, so other threads read it without a lock.

Identities are in two tables, by age. When the tables are at least an hour old and the spool has since been
drained completely, the older table is dropped and the recent one becomes the older: the dropped identities
can no longer return from the spool.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from observability.arrivals.parsing import Arrival, Event
from observability.errors import UnusableError, reason
from observability.store import families, schema
from observability.store.clocks import Clocks
from observability.store.failures import Failures
from observability.store.families import Series
from observability.store.identities import Batch, Exemplar
from observability.store.schema import IDENTITIES

IDENTITY_SECONDS = 3600.0

_LOOKED_UP_AT_ONCE = 64
_FORGET = (
    "DROP TABLE older",
    "ALTER TABLE recent RENAME TO older",
    f"CREATE TABLE recent {IDENTITIES}",
)
_ADD = "INSERT INTO series VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
_FAILED = "commits_failed"  # the mark of the Failures total counted so far
_COMMITS_FAILED = (families.COMMITS_FAILED.name,)
_NO_MARKS: Mapping[str, float | str] = MappingProxyType({})
_MARK = "INSERT OR REPLACE INTO marks VALUES (?, ?)"


class Committed(NamedTuple):
    """The committed values; immutable, replaced at each commit."""

    values: Mapping[Series, float]
    exemplars: Mapping[Series, Exemplar]
    last_event: float  # seconds since 1970


class Store:
    """One SQLite file, and its only writer. Methods may raise sqlite3.Error, having changed nothing."""

    def __init__(self, database: sqlite3.Connection, clocks: Clocks) -> None:
        """Take ownership of `database`, opened by schema.py."""
        self._database, self._clocks = database, clocks
        self._unsynced = self._in_doubt = False
        self._failures = Failures(Path(f"{self._path()}.failed"))
        self.takes_commits = True  # whether the latest commit succeeded; read by any thread
        if not self.mark("born"):
            self._begin()
        self.born = float(self.mark("born"))  # seconds since 1970: when counting began
        self._failures.resume(int(self.mark(_FAILED) or 0))
        self.committed = self._load()
        if self.mark("boot") != clocks.boot or not clocks.boot:
            # The machine rebooted, which restarts the monotonic clock.
            with self._transaction():
                self._begin_hour()
        # From here on do not wait for locks: the loop retries soon.
        database.execute("PRAGMA busy_timeout = 0").fetchall()

    def commit(self, arrivals: Sequence[Arrival]) -> list[Event]:
        """Count arrivals, all or none; return the events that were new."""
        now = self._clocks.time()
        identities = [what.identity for _, what in arrivals if isinstance(what, Event)]
        with self._transaction():
            batch = Batch(self._known(identities), now)
            batch.add(arrivals)
            increments = batch.increments()
            self._write(batch.changed)
            self._add(increments)
            if identities:
                self._database.execute(_MARK, ("last_event", now))
        self._publish(increments, batch.exemplars(), now if identities else self.committed.last_event)
        return batch.counted

    def lost(self, size: int) -> None:
        """Count events that popups could not spool: one for each byte by which DIR/lost has grown."""
        before = int(self.mark("lost_bytes") or 0)
        if size == before:
            return
        # A smaller file is a new one: all of it counts.
        news = size - before if size > before else size
        self.count({(families.DROPPED.name, "spool_full"): news}, {"lost_bytes": size})

    def count(
        self,
        increments: Mapping[Series, float],
        marks: Mapping[str, float | str] = _NO_MARKS,
        *,
        is_event: bool = False,
    ) -> None:
        """Add increments that have no identity; marks are saved in the same transaction."""
        last = self._clocks.time() if is_event else self.committed.last_event
        with self._transaction():
            self._database.executemany(_MARK, {**marks, "last_event": last}.items())
            self._add(increments)
        self._publish(increments, {}, last)

    def change(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Run `work` in a transaction."""
        with self._transaction():
            work(self._database)

    def drained(self, began: float) -> None:
        """Forget old identities after a complete drain of the spool. began: monotonic seconds."""
        if began - float(self.mark("hour_began")) < IDENTITY_SECONDS:
            return
        with self._transaction():
            for statement in _FORGET:
                self._database.execute(statement)
            self._begin_hour()

    def sync(self) -> None:
        """Sync committed transactions to disk."""
        if self._unsynced:
            checkpoint = self._database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            _busy, logged, written_back = checkpoint.fetchone()
            if written_back < logged:  # a reader holds an older snapshot: SQLite has synced only up to it
                self._sync_log()
            self._unsynced = False

    def move(self, path: Path) -> None:
        """Copy everything to `path`, which must not exist, and continue there; OSError, sqlite3.Error.

        UnusableError if neither the copy nor the former file can be used.
        """
        aside = path.with_name(f"{path.name}.new")
        aside.unlink(missing_ok=True)
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(aside)) as copy:
            self._database.backup(copy)
            schema.check(copy, path)
        self._database.close()  # first, because closing removes the -wal and -shm at its path
        try:
            schema.put(aside, path)
        except OSError as error:
            raise UnusableError(f"cannot rename the store from {aside} to {path}: {reason(error)}") from error
        self._database = schema.open_file(path, 0)
        self._unsynced = self._in_doubt = False

    def close(self) -> None:
        """Close the database, which writes the WAL back."""
        self._database.close()

    def _sync_log(self) -> None:
        try:
            with open(f"{self._path()}-wal", "rb") as log:
                os.fdatasync(log.fileno())
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error

    def _path(self) -> str:
        _, _, path = self._database.execute("PRAGMA database_list").fetchone()
        return str(path)

    def _begin(self) -> None:
        marks = (("born", self._clocks.time()), (_FAILED, self._failures.total))
        with self._transaction():
            self._database.executemany(_MARK, marks)

    def _load(self) -> Committed:
        """Return the file's values, including failures noted outside it."""
        values = {**families.at_start(), **schema.values(self._database)}
        values[_COMMITS_FAILED] += self._failures.shown
        return Committed(values, {}, float(self.mark("last_event") or 0))

    def mark(self, name: str) -> str:
        """Return the mark of this name; empty if there is none."""
        row = self._database.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def _begin_hour(self) -> None:
        marks = (("hour_began", self._clocks.monotonic()), ("boot", self._clocks.boot))
        self._database.executemany(_MARK, marks)

    def _known(self, identities: Sequence[bytes]) -> dict[bytes, int]:
        known: dict[bytes, int] = {}
        for start in range(0, len(identities), _LOOKED_UP_AT_ONCE):
            wanted = identities[start : start + _LOOKED_UP_AT_ONCE]
            # Facts added to an older identity are in the recent table, so it may be in both.
            for identity, facts in self._database.execute(_look_up(len(wanted)), wanted):
                known[identity] = known.get(identity, 0) | facts
        return known

    def _write(self, facts: Mapping[bytes, int]) -> None:
        self._database.executemany("INSERT OR REPLACE INTO recent VALUES (?, ?)", sorted(facts.items()))

    def _add(self, increments: Mapping[Series, float]) -> None:
        rows = [(*schema.row(series), amount) for series, amount in increments.items()]
        self._database.executemany(_ADD, rows)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit the block's changes or roll them back. After a failure, reload the values from the file."""
        try:
            if self._in_doubt:
                self.committed = self._load()._replace(exemplars=self.committed.exemplars)
            self._in_doubt = True
            self._database.execute("BEGIN IMMEDIATE")
            yield
            if self._failures.waiting:
                self._add({_COMMITS_FAILED: self._failures.waiting})
                self._database.execute(_MARK, (_FAILED, self._failures.total))
            self._database.execute("COMMIT")
        except BaseException as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                self.takes_commits = False
                self._show_failures(self._failures.add())
            raise
        self._in_doubt, self._unsynced, self.takes_commits = False, True, True
        self._show_failures(self._failures.counted())

    def _show_failures(self, number: int) -> None:
        if number:
            self._publish({_COMMITS_FAILED: number}, {}, self.committed.last_event)

    def _publish(
        self, increments: Mapping[Series, float], exemplars: Mapping[Series, Exemplar], last: float
    ) -> None:
        values = dict(self.committed.values)
        for series, amount in increments.items():
            values[series] = values.get(series, 0) + amount
        self.committed = Committed(values, {**self.committed.exemplars, **exemplars}, last)


@cache
def _look_up(number: int) -> str:
    """Return the statement that finds the facts of so many identities; Python's sqlite3 caches 128."""
    wanted = ", ".join(["(?)"] * number)
    # The values drive the join: IN would sort them into a temporary table, once for each of our two.
    return f"""
        WITH wanted (identity) AS (VALUES {wanted})
        SELECT identity, facts FROM wanted CROSS JOIN older USING (identity)
        UNION ALL SELECT identity, facts FROM wanted CROSS JOIN recent USING (identity)
    """  # noqa: S608  only parameters are inserted
