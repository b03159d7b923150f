"""A snapshot as the output of a monitoring plugin: a line with numbers, and a status. Pure.

In the format of the Monitoring Plugins' guidelines: the text, a bar, and for each number
name=value[unit];warning;critical;min;max.
"""

from collections.abc import Sequence

from observability.options.inspection import MEASURES, Threshold
from observability.status import wrong
from observability.status.snapshot import Snapshot

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_SERVICE = "QMAIL_POPUP"
_UNITS = {"failed_share": "", "sessions": "", "age_seconds": "s", "spool_bytes": "B"}


def unknown(reason: str) -> tuple[int, str]:
    """Return the result if no sidecar answers."""
    return UNKNOWN, f"{_SERVICE} UNKNOWN - {' '.join(reason.split()).replace('|', '/')}"


def judge(snapshot: Snapshot, warning: Sequence[Threshold], critical: Sequence[Threshold]) -> tuple[int, str]:
    """Return status and lines. A number above several thresholds has the worst status."""
    values = measure(snapshot)
    lacking = [name for name, _ in (*warning, *critical) if values[name] is None]
    if not snapshot.is_live:
        return unknown("no sidecar answers")
    if lacking:
        return unknown(f"{lacking[0]} is unknown")
    status, exceeded = _exceeded(values, warning, critical)
    shown = exceeded or [f"{name} {_number(value)}" for name, value in values.items() if value is not None]
    numbers = " ".join(
        _perfdata(snapshot, name, warning, critical) for name in MEASURES if values[name] is not None
    )
    lines = [f"{_SERVICE} {_WORDS[status]} - {', '.join(shown)} | {numbers}"]
    return status, "\n".join([*lines, *(f"{each.level}: {each.text}" for each in wrong.find(snapshot))])


def measure(snapshot: Snapshot) -> dict[str, float | None]:
    """Return the values that thresholds apply to; None if unknown. Without logins the failed share is 0."""
    born = None if snapshot.born is None else max(0.0, snapshot.now - snapshot.born)
    return {
        "failed_share": snapshot.failed_share or 0.0,
        "sessions": snapshot.active,
        "age_seconds": born if snapshot.age_seconds is None else snapshot.age_seconds,
        "spool_bytes": snapshot.spool_bytes,
    }


def _exceeded(
    values: dict[str, float | None], warning: Sequence[Threshold], critical: Sequence[Threshold]
) -> tuple[int, list[str]]:
    for status, thresholds in ((CRITICAL, critical), (WARNING, warning)):
        over = [
            f"{name} is {_number(value)}, over {_number(limit)}"
            for name, limit in thresholds
            if (value := values[name]) is not None and value > limit
        ]
        if over:
            return status, over
    return OK, []


def _perfdata(
    snapshot: Snapshot, name: str, warning: Sequence[Threshold], critical: Sequence[Threshold]
) -> str:
    limits = (
        min((limit for measured, limit in each if measured == name), default=None)
        for each in (warning, critical)
    )
    highest = {"failed_share": 1, "sessions": snapshot.limit}.get(name)
    numbers = (*limits, 0, highest)
    return f"{name}={_number(measure(snapshot)[name])}{_UNITS[name]};" + ";".join(map(_number, numbers))


def _number(value: float | None) -> str:
    return "" if value is None else f"{round(value, 4):.15g}"
