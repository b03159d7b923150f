"""What became of work that is done in threads beside the loop, on its way to the loop.

Owns one rule: a thread reports, and never touches the store or the log itself. The loop takes the reports
when it has time, counts them, and logs an error once.
"""

import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from observability.errors import Errors, Log
from observability.store.families import PATHS_LOST, Series


class Report(NamedTuple):
    """What became of one piece of work.

    name: what it concerns; error: empty where there was none; increments: by series, what the store is to add
    """

    name: str
    error: str
    increments: Mapping[Series, float]


class Reports:
    """Those that the loop has not taken yet. errors: what is wrong now."""

    def __init__(self, count: Callable[[Mapping[Series, float]], None], log: Log) -> None:
        """Pass them on. count: may raise sqlite3.Error."""
        self._count, self.errors = count, Errors(log)
        self._waiting: deque[Report] = deque()

    def put(self, report: Report) -> None:
        """Have it counted and logged; in any thread."""
        self._waiting.append(report)

    def take(self) -> None:
        """Count what was reported, and log what is wrong, once; in the loop's thread."""
        taken = list(self._waiting)
        increments: Counter[Series] = Counter()
        for report in taken:
            increments.update(report.increments)
        try:
            if increments:
                self._count(increments)
        except sqlite3.Error:
            return  # they stay for the next time
        for report in taken:
            self._waiting.popleft()
            self.errors.note(report.name, report.error)

    def put_error(self, name: str, error: str) -> None:
        """Have it logged what went wrong, or that nothing does any more; in any thread."""
        self.put(Report(name, error, {}))

    def put_path(self, label: str, error: str, is_lost: bool) -> None:  # noqa: FBT001  as Watch reports it
        """Have what became of a path in use counted and logged; in any thread."""
        self.put(Report(label, error, {(PATHS_LOST.name, label): 1} if is_lost else {}))
