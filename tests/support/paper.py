"""Colours and numbers as Grafana shows them, for paper: names of colours, units, thresholds.

Pure: a name or a number in, words out.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, Literal, NamedTuple

COLOURS = {
    "green": "#56a64b",
    "dark-green": "#19730e",
    "orange": "#ff780a",
    "dark-orange": "#c4540a",
    "light-blue": "#8ab8ff",
    "yellow": "#f2cc0c",
    "red": "#e02f44",
    "dark-red": "#ad0317",
    "blue": "#3274d9",
    "purple": "#a352cc",
    "dark-purple": "#5a1e8a",
    "text": "#333333",
}
PALETTE = ("#3274d9", "#ff9830", "#8f3bb8", "#37872d", "#e0b400", "#5794f2", "#c15c17", "#705da0")
"""For lines that have no colour of their own: none of them is red."""

AXIS = {
    "cpm": "a minute",
    "percentunit": "share",
    "s": "seconds",
    "bytes": "bytes",
    "short": "number",
    "none": "times",
}
"""What a unit is called beside an axis."""

Dashes = Literal["-", "--"]


class Style(NamedTuple):
    """How a line is drawn."""

    colour: str
    opacity: float  # of what is below it
    width: float
    dashes: Dashes


_STEPS = ((1024.0**3, "GiB"), (1024.0**2, "MiB"), (1024.0, "KiB"))
_SPANS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def told(value: float, unit: str) -> str:
    """Return a number with its unit."""
    if math.isnan(value):
        return "no data"
    return _UNITS.get(unit, _plain)(value)


def of_threshold(value: float, steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the colour that a number has by its thresholds."""
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    return COLOURS[reached[-1]["color"]]


def styles(panel: Mapping[str, Any], names: Sequence[str]) -> dict[str, Style]:
    """Return how each line of a panel is drawn, by its name."""
    settings = panel["fieldConfig"]
    special = {
        each["matcher"]["options"]: {one["id"]: one["value"] for one in each["properties"]}
        for each in settings["overrides"]
    }
    usual, others = settings["defaults"]["custom"], cycle(PALETTE)
    return {name: _style(special.get(name, {}), usual, others) for name in dict.fromkeys(names)}


def _style(special: Mapping[str, Any], usual: Mapping[str, Any], others: Iterator[str]) -> Style:
    custom = {**usual, **{key.removeprefix("custom."): value for key, value in special.items()}}
    colour = COLOURS[special["color"]["fixedColor"]] if "color" in special else next(others)
    dashes: Dashes = "--" if "lineStyle" in custom else "-"
    return Style(colour, custom["fillOpacity"] / 100, custom["lineWidth"] * 0.7, dashes)


def _plain(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:.1f} K"
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.2g}"


def _scaled(value: float, steps: Sequence[tuple[float, str]], smallest: str) -> str:
    for size, name in steps:
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} {smallest}"


_UNITS: Mapping[str, Callable[[float], str]] = {
    "percentunit": lambda value: f"{value:.1%}",
    "cpm": lambda value: f"{_plain(value)} /min",
    "s": lambda value: _scaled(value, _SPANS, "s") if value >= 1 else f"{value * 1000:.3g} ms",
    "bytes": lambda value: _scaled(value, _STEPS, "B"),
}
