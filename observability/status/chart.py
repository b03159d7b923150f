"""Charts of the last 24 hours as SVG. Pure: minutes in, markup out.

Each bar of a chart is one interval, its parts stacked. Intervals without a running sidecar are shaded: their
values are unknown. Each bar has its time and values as a title, which browsers show as a tooltip and screen
readers read. Colours come from the page, by the parts' classes.
"""

from collections.abc import Callable, Iterator, Sequence
from math import ceil, log10
from typing import NamedTuple

from observability.status.markup import Markup, element
from observability.status.words import amount, clock
from observability.store.history import MINUTE, Minute

WIDTH, HEIGHT = 380, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 16, 12, 20  # for the labels
SPARK_WIDTH, SPARK_HEIGHT = 144, 22
_DAY = 24 * 60  # minutes
_LABELS_EVERY = 6 * 60
_GAP = 0.8
_STEPS = (1, 2, 3, 4, 6, 8, 10)
_MIN_TOP = 4  # sessions and logins are whole numbers: below 4 the middle of the axis would not be one


class Part(NamedTuple):
    """One part of each bar: its name, its class, and its value in one minute."""

    name: str
    kind: str
    of: Callable[[Minute], float | None]


class Bar(NamedTuple):
    """One interval, from minute `start` on. values: of each part, None if unknown."""

    start: int
    values: tuple[float, ...] | None


def bars(
    minutes: Sequence[Minute],
    now: float,
    parts: Sequence[Part],
    width: int,
    merge: Callable[..., float] = sum,
) -> list[Bar]:
    """Return the last 24 hours, `width` minutes per bar, the current one last.

    merge: combines the minutes of a bar: sum or max
    """
    last = int(now // MINUTE) // width
    found: dict[int, list[Minute]] = {place: [] for place in range(last - _DAY // width + 1, last + 1)}
    for minute in minutes:
        if minute.minute // width in found:
            found[minute.minute // width].append(minute)
    return [Bar(place * width, _merged(of, parts, merge)) for place, of in found.items()]


def top(highest: float) -> float:
    """Return where the axis ends for this highest value: a round number, even when halved."""
    if highest <= _MIN_TOP:
        return _MIN_TOP
    power = 10.0 ** int(log10(highest))
    return next(step * power for step in _STEPS if step * power >= highest)


def chart(title: str, shown: Sequence[Bar], parts: Sequence[Part]) -> Markup:
    """Return a chart with its axes."""
    highest = top(max((sum(bar.values) for bar in shown if bar.values), default=0))
    box = _Box(LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)
    children = [*_grid(box, highest), *_times(box, shown), *_columns(box, shown, parts, highest)]
    return _svg("chart", title, WIDTH, HEIGHT, children)


def spark(title: str, shown: Sequence[Bar], parts: Sequence[Part]) -> Markup:
    """Return a small chart without axes and numbers, scaled to its highest bar."""
    highest = max((sum(bar.values) for bar in shown if bar.values), default=0)
    box = _Box(0, 1, SPARK_WIDTH, SPARK_HEIGHT - 2)
    base = element("line", class_="base", x1=0, x2=SPARK_WIDTH, y1=SPARK_HEIGHT - 0.5, y2=SPARK_HEIGHT - 0.5)
    columns = (
        piece for bar, place in _places(box, shown) for piece in _pieces(place, bar, parts, highest or 1)
    )
    return _svg("spark", title, SPARK_WIDTH, SPARK_HEIGHT, [base, *columns])


class _Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float


def _merged(
    minutes: Sequence[Minute], parts: Sequence[Part], merge: Callable[..., float]
) -> tuple[float, ...] | None:
    values = []
    for part in parts:
        known = [value for minute in minutes if (value := part.of(minute)) is not None]
        if not known:
            return None
        values.append(merge(known))
    return tuple(values)


def _svg(kind: str, title: str, width: int, height: int, children: Sequence[Markup]) -> Markup:
    box = f"0 0 {width} {height}"
    return element("svg", *children, class_=kind, viewBox=box, role="img", aria_label=title)


def _grid(box: _Box, highest: float) -> Iterator[Markup]:
    for part in (0, 0.5, 1):
        y = round(box.y + box.height * (1 - part), 2)
        kind = "grid" if part else "base"
        yield element("line", class_=kind, x1=box.x, x2=box.x + box.width, y1=y, y2=y)
        yield element("text", _short(highest * part), class_="y", x=box.x - 6, y=y + 3.5)


def _times(box: _Box, shown: Sequence[Bar]) -> Iterator[Markup]:
    step = box.width / len(shown)
    for place, bar in enumerate(shown):
        if bar.start % _LABELS_EVERY == 0:
            x = round(box.x + place * step, 2)
            yield element("line", class_="tick", x1=x, x2=x, y1=box.y + box.height, y2=box.y + box.height + 4)
            yield element("text", clock(bar.start), class_="x", x=x, y=HEIGHT - 4)


def _columns(box: _Box, shown: Sequence[Bar], parts: Sequence[Part], highest: float) -> Iterator[Markup]:
    for bar, place in _places(box, shown):
        end = clock(bar.start + _DAY // len(shown))
        title = element("title", f"{clock(bar.start)} to {end} UTC: {_tooltip(bar, parts)}")
        hit = element("rect", class_="hit", **place._asdict()) if bar.values else Markup()
        yield element("g", title, hit, *_pieces(place, bar, parts, highest))


def _places(box: _Box, shown: Sequence[Bar]) -> Iterator[tuple[Bar, _Box]]:
    """Yield each bar with the space it may fill."""
    step = box.width / len(shown)
    for number, bar in enumerate(shown):
        yield bar, _Box(round(box.x + number * step, 2), box.y, round(step, 2), box.height)


def _pieces(place: _Box, bar: Bar, parts: Sequence[Part], highest: float) -> Iterator[Markup]:
    if bar.values is None:
        yield element("rect", class_="gap", **place._asdict())
        return
    bottom, width = place.y + place.height, round(place.width - min(_GAP, place.width / 4), 2)
    for part, value in zip(parts, bar.values, strict=True):
        if value:
            height = round(place.height * value / highest, 2)
            bottom = round(bottom - height, 2)
            yield element("rect", class_=part.kind, **_Box(place.x, bottom, width, height)._asdict())


def _tooltip(bar: Bar, parts: Sequence[Part]) -> str:
    if bar.values is None:
        return "unknown"
    return ", ".join(f"{amount(value)} {part.name}" for part, value in zip(parts, bar.values, strict=True))


def _short(number: float) -> str:
    """Return a number for an axis, in six characters at most."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1000 if unit == 'k' else size):g}{unit}"
    return f"{number:,g}" if number == ceil(number) else f"{number:g}"
