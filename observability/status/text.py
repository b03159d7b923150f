"""A snapshot as text for a terminal. Pure."""

from collections.abc import Iterator, Sequence

from observability.status import facts, wrong
from observability.status.chart import Bar, bars
from observability.status.parts import ACCEPTED, FAILED, METHOD_WORDS, METHODS, OPEN
from observability.status.snapshot import DAY_MINUTES, HOUR_MINUTES, NOW_MINUTES, Logins, Snapshot, total
from observability.status.words import NOT_KNOWN, amount, moment, share, span
from observability.store import families

BLOCKS, PLAIN = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
_HALF = 30  # minutes per bar
_WINDOWS = (NOW_MINUTES, HOUR_MINUTES, DAY_MINUTES)


def text(snapshot: Snapshot, where: str, levels: str) -> str:
    """Return the text. where: its source; levels: nine characters, from nothing to the highest bar."""
    parts = (
        [" · ".join((f"qmail-popup {snapshot.version}".rstrip(), moment(snapshot.now), where))],
        _state(snapshot),
        _logins(snapshot),
        _day(snapshot, levels),
        _methods(snapshot),
        _reasons(snapshot),
        [f"{name:<10}{line}" for name, line in facts.lines(snapshot)],
    )
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _state(snapshot: Snapshot) -> Iterator[str]:
    found = wrong.find(snapshot)
    yield from (f"{each.level.upper():<10}{each.text}" for each in found)
    if not found:
        yield f"{'OK':<10}Nothing is wrong right now."


def _logins(snapshot: Snapshot) -> Iterator[str]:
    logins = [Logins.of(snapshot.added(minutes)) for minutes in _WINDOWS]
    yield _row("Logins", "5 min", "1 h", "24 h")
    yield _row("  accepted", *(amount(each.accepted) for each in logins))
    yield _row("  failed", *(amount(each.failed) for each in logins))
    yield _row("  share that failed", *(share(each.failed, each.total) for each in logins))
    limit = f" of {amount(snapshot.limit)}" if snapshot.limit else ""
    active = NOT_KNOWN if snapshot.active is None else amount(snapshot.active)
    age = snapshot.age_seconds
    yield f"Sessions open: {active}{limit}"
    yield f"Last event: {'never' if age is None else span(age) + ' ago'}"


def _day(snapshot: Snapshot, levels: str) -> Iterator[str]:
    yield "Last 24 hours by half-hour, with the maximum; ? means no sidecar was running"
    for name, parts in (("accepted", ACCEPTED), ("failed", FAILED), ("open", OPEN)):
        yield _line(
            name, bars(snapshot.minutes, snapshot.now, parts, _HALF, max if parts is OPEN else sum), levels
        )


def _line(name: str, shown: Sequence[Bar], levels: str) -> str:
    highest = max((sum(bar.values) for bar in shown if bar.values), default=0)
    drawn = "".join(_level(bar, highest, levels) for bar in shown)
    return f"  {name:<10}|{drawn}| {amount(highest)}"


def _level(bar: Bar, highest: float, levels: str) -> str:
    if bar.values is None:
        return "?"
    value = sum(bar.values)
    return levels[max(1, round(value / highest * (len(levels) - 1)))] if value else levels[0]


def _methods(snapshot: Snapshot) -> Iterator[str]:
    day = snapshot.added(DAY_MINUTES)
    yield _row("By protocol and method, 24 h", "accepted", "failed", "share")
    for protocol, method in METHODS:
        logins = Logins.of(day, method, protocol)
        numbers = (amount(logins.accepted), amount(logins.failed), share(logins.failed, logins.total))
        yield _row(f"  {protocol:<6}{METHOD_WORDS[method]}", *numbers)


def _reasons(snapshot: Snapshot) -> Iterator[str]:
    sums = [snapshot.added(minutes) for minutes in _WINDOWS]
    yield _row("Failed logins by reason", "5 min", "1 h", "24 h")
    for reason, words in facts.REASONS.items():
        yield _row(f"  {words}", *(amount(total(each, families.FAILURES.name, reason)) for each in sums))


def _row(*cells: str) -> str:
    first, *numbers = cells
    return f"{first:<36}" + "".join(f"{number:>11}" for number in numbers)
