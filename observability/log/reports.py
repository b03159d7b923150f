"""Results of work in other threads, on their way to the loop.

Owns one rule: a thread reports, and never touches the store or the log itself. The loop takes the reports
when it has time, counts them, and logs each error once.
"""

import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from observability.errors import Errors, Log
from observability.store.families import PATHS_LOST, Series


class Report(NamedTuple):
    """The result of one piece of work.

    name: what it concerns; error: "" if there was none; increments: what to add to which series
    """

    name: str
    error: str
    increments: Mapping[Series, float]


class Reports:
    """Reports that the loop has not taken yet. errors: current errors."""

    def __init__(self, count: Callable[[Mapping[Series, float]], None], log: Log) -> None:
        """Pass them on. count: may raise sqlite3.Error."""
        self._count, self.errors = count, Errors(log)
        self._waiting: deque[Report] = deque()

    def put(self, report: Report) -> None:
        """Queue a report; may be called in any thread."""
        self._waiting.append(report)

    def take(self) -> None:
        """Count the reports, and log each error once; in the loop's thread."""
        taken = list(self._waiting)
        increments: Counter[Series] = Counter()
        for report in taken:
            increments.update(report.increments)
        try:
            if increments:
                self._count(increments)
        except sqlite3.Error:
            return  # retried next time
        for report in taken:
            self._waiting.popleft()
            self.errors.note(report.name, report.error)

    def put_error(self, name: str, error: str) -> None:
        """Queue an error, or "" when it is over; may be called in any thread."""
        self.put(Report(name, error, {}))

    def put_path(self, label: str, error: str, is_lost: bool) -> None:  # noqa: FBT001  as Watch reports it
        """Queue the state of a path in use; may be called in any thread."""
        self.put(Report(label, error, {(PATHS_LOST.name, label): 1} if is_lost else {}))
