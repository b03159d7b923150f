"""What threads report, counted and logged by the loop."""

import sqlite3
from collections.abc import Mapping

from observability.log.reports import Report, Reports
from observability.store.families import PUSHED, Series


def test_what_the_store_cannot_take_now_is_counted_later() -> None:
    """A report waits until the store has counted it, and its error is logged once."""
    counted: list[Mapping[Series, float]] = []
    logged: list[str] = []

    def refuse(_increments: Mapping[Series, float]) -> None:
        raise sqlite3.OperationalError

    stores = [counted.append, refuse]

    def count(increments: Mapping[Series, float]) -> None:
        stores[-1](dict(increments))

    reports = Reports(count, lambda _, text: logged.append(text))
    for error in ("why", "why", ""):
        reports.put(Report("push", error, {PUSHED[not error]: 1}))
    reports.put(Report("textfile", "how", {}))
    reports.take()
    assert ([], []) == (counted, logged)
    stores.pop()
    reports.take()
    reports.take()
    assert [{PUSHED[True]: 1, PUSHED[False]: 2}] == counted
    assert ["why", "how"] == logged
