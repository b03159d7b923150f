"""The last 48 hours by minute: what each added to the totals, and the peak number of open sessions.

Owns the table `history`. A row contains the totals committed by the end of its minute; what a minute added is
the difference to the row before. So a kill neither loses nor doubles anything: events committed since the
last row are in the next one. There are no rows for times when the sidecar did not run, and if the clock is
set back, rows in the future are deleted.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from observability.store import families
from observability.store.database import Store
from observability.store.families import Series

MINUTE = 60  # seconds
MINUTES = 48 * 60  # kept: today, and the same hours of yesterday
KEPT = (
    families.ATTEMPTS,
    families.FAILURES,
    families.SESSIONS,
    families.DROPPED,
    families.SPANS_DROPPED,
    families.PUSHES,
)
"""The families in the history."""
_NAMES = frozenset(family.name for family in KEPT)

_ROWS = "SELECT minute, peak, totals FROM history ORDER BY minute"
# Keeps the newest of the rows that are too old, because the next minute is a difference to it.
_FORGET = (
    "DELETE FROM history WHERE minute < (SELECT max(minute) FROM history WHERE minute <= ?) OR minute > ?"
)
_NOTE = "INSERT OR REPLACE INTO history VALUES (?, ?, ?)"

Sums = Mapping[Series, float]


class Minute(NamedTuple):
    """What one minute added, without series at 0. peak: maximum of open sessions, None if unknown."""

    minute: int  # since 1970
    peak: int | None
    sums: Sums


class _Row(NamedTuple):
    minute: int
    peak: int | None
    totals: Sums


class _Noted(NamedTuple):
    """The table's contents; replaced as a whole, so that other threads read it without a lock."""

    minutes: tuple[Minute, ...]
    last: _Row | None


class History:
    """The minutes of one store. Methods may raise sqlite3.Error, having changed nothing."""

    def __init__(self, store: Store, now: Callable[[], float], active: Callable[[], int | None]) -> None:
        """Load the table. now: seconds since 1970; active: open connections now, None if unknown."""
        self._store, self.now, self._active = store, now, active
        self._noted = _load(store)
        self._peak: int | None = None

    def tick(self) -> None:
        """Save the minute that has ended, if one has; call it about every second."""
        self._look()
        ended = int(self.now() // MINUTE) - 1
        noted = self._noted
        if noted.last and ended == noted.last.minute:
            return
        row = _Row(ended, self._peak, self._totals())
        self._store.change(lambda database: _note(database, row))
        is_later = noted.last is None or ended > noted.last.minute
        self._noted = _appended(noted, row) if is_later else _load(self._store)
        self._peak = None

    def minutes(self) -> tuple[Minute, ...]:
        """Return the saved minutes and the current one; from any thread."""
        minutes, last = self._noted
        if last is None:
            return ()
        now = int(self.now() // MINUTE)
        return (*minutes, Minute(now, self._active(), _added(last.totals, self._totals())))

    def _look(self) -> None:
        """Update the peak."""
        active = self._active()
        if active is not None:
            self._peak = max(active, self._peak or 0)

    def _totals(self) -> Sums:
        values = self._store.committed.values
        return {series: value for series, value in values.items() if value and series[0] in _NAMES}


def read(database: sqlite3.Connection) -> tuple[Minute, ...]:
    """Return the minutes in a store's file."""
    return _noted(list(_rows(database))).minutes


def _load(store: Store) -> _Noted:
    rows: list[_Row] = []
    store.change(lambda database: rows.extend(_rows(database)))
    return _noted(rows)


def _rows(database: sqlite3.Connection) -> Iterator[_Row]:
    for minute, peak, totals in database.execute(_ROWS):
        yield _Row(minute, peak, {tuple(series): value for *series, value in json.loads(totals)})


def _noted(rows: Sequence[_Row]) -> _Noted:
    minutes = (
        Minute(row.minute, row.peak, _added(before.totals, row.totals)) for before, row in pairwise(rows)
    )
    return _Noted(tuple(minutes), rows[-1] if rows else None)


def _appended(noted: _Noted, row: _Row) -> _Noted:
    if noted.last is None:
        return _Noted((), row)
    kept = (minute for minute in noted.minutes if minute.minute > row.minute - MINUTES)
    return _Noted((*kept, _minute(noted.last.totals, row)), row)


def _minute(before: Sums, row: _Row) -> Minute:
    return Minute(row.minute, row.peak, _added(before, row.totals))


def _note(database: sqlite3.Connection, row: _Row) -> None:
    totals = json.dumps([[*series, value] for series, value in row.totals.items()], separators=(",", ":"))
    database.execute(_FORGET, (row.minute - MINUTES, row.minute))
    database.execute(_NOTE, (row.minute, row.peak, totals))


def _added(before: Sums, after: Sums) -> Sums:
    return {
        series: value - before.get(series, 0)
        for series, value in after.items()
        if value != before.get(series, 0)
    }
