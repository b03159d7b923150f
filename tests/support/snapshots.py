"""Snapshots of a fictitious sidecar: minutes with known sums."""

from collections.abc import Mapping

from observability.status.snapshot import Snapshot
from observability.store import families
from observability.store.families import Series
from observability.store.history import Minute

LAST = 29_930_400  # the current minute: 00:00 UTC
NOW = LAST * 60 + 20.0


def accepted(protocol: str = "POP3", method: str = "User") -> Series:
    """Return the series of accepted logins."""
    return families.ATTEMPTS.name, "accepted", method, protocol


def refused(reason: str, count: float, protocol: str = "POP3", method: str = "User") -> dict[Series, float]:
    """Return the sums of `count` refusals."""
    failures = families.FAILURES.name, reason, method, protocol
    return {(families.ATTEMPTS.name, "rejected", method, protocol): count, failures: count}


def ended(how: str, count: float) -> dict[Series, float]:
    """Return the sums of `count` sessions."""
    return {(families.SESSIONS.name, how, "POP3"): count}


def snapshot(sums: Mapping[int, Mapping[Series, float]], **changes: object) -> Snapshot:
    """Return a snapshot of a quiet host. sums: increments, by minutes ago; changes: other fields."""
    totals = families.at_start()
    for added in sums.values():
        for series, value in added.items():
            totals[series] += value
    minutes = [Minute(LAST - ago, 0, sums.get(ago, {})) for ago in range(1500, -1, -1)]
    quiet = Snapshot(now=NOW, version="1.2.3", values=totals, minutes=minutes, last_event=NOW - 5)
    return quiet._replace(**changes)  # type: ignore[arg-type]  # fields by name
