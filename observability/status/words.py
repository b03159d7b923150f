"""Numbers in readable form. Pure."""

from datetime import UTC, datetime

from observability.store.history import MINUTE

NOT_KNOWN = "—"

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_KIB = 1024
_SMALL = 10


def amount(number: float) -> str:
    """Return a count with thousands separators."""
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Return a number of bytes."""
    for unit in ("bytes", "KiB"):
        if number < _KIB:
            return f"{number:.0f} {unit}"
        number /= _KIB
    return f"{number:.1f} MiB" if number < _SMALL else f"{number:,.0f} MiB"


def share(part: float, whole: float) -> str:
    """Return a percentage; a dash if the whole is 0."""
    return f"{100 * part / whole:.1f}%" if whole else NOT_KNOWN


def span(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            return plural(int(seconds // unit), name)
    return plural(int(seconds), "second")


def clock(minute: int) -> str:
    """Return the time of day of a minute since 1970."""
    return f"{datetime.fromtimestamp(minute * MINUTE, UTC):%H:%M}"


def moment(seconds: float) -> str:
    """Return a timestamp, given as seconds since 1970."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def plural(number: float, one: str) -> str:
    """Return a count with its noun."""
    return f"{amount(number)} {one}" if number == 1 else f"{amount(number)} {one}s"
