"""How each kind of panel looks on paper: near enough to Grafana to judge a dashboard by.

Owns what is drawn into a panel's card. Each kind is one function, all with one signature, in DRAWN; what has
an axis of time returns that. Times are in days since 1970, as matplotlib has them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tests.support.asking import Source, named
from tests.support.paper import AXIS, COLOURS, Style, of_threshold, styles, told

Panel = Mapping[str, Any]
Lines = Sequence[tuple[str, Sequence[float]]]
"""Legends and values, one value for each point of time."""
Cells = Sequence[Sequence[str]]
Box = tuple[float, float, float, float]

LINES_MOST = 6  # of a legend or a table: there is no room for more
SMALL, DAY = 7, 86400


def draw(card: Axes, panel: Panel, source: Source) -> Axes | None:
    """Draw a panel into its card, and return the axes that show time, if it has any."""
    level, ink = 1 - 0.65 / panel["gridPos"]["h"], "white" if panel["type"] == "stat" else "black"
    card.text(0.01, level, panel["title"], fontsize=9, weight="bold", va="center", color=ink)
    return DRAWN.get(panel["type"], _frame)(card, panel, source)


def days(source: Source) -> list[float]:
    """Return the points of time."""
    return [moment / DAY for moment in source.times]


def _row(card: Axes, _panel: Panel, _source: Source) -> None:
    card.set_axis_off()


def _frame(card: Axes, panel: Panel, _source: Source) -> None:
    asked = panel["datasource"]["type"].title()
    card.text(0.5, 0.45, f"asked of {asked}", ha="center", fontsize=SMALL, color="#999999")


def _alerts(card: Axes, panel: Panel, source: Source) -> None:
    """Draw what fired at any time of the stretch; Grafana's list is of now."""
    line, begin = 1 / panel["gridPos"]["h"], panel["options"]["alertName"]
    fired = f'ALERTS{{alertname=~"{begin}.+", alertstate="firing"}}'
    cells = [["alert", "host"]]
    for labels, _ in source.over_time(f"max by (alertname, instance) ({fired})")[:LINES_MOST]:
        cells.append([labels["alertname"].removeprefix(begin), labels.get("instance", "")])
    height = 0.9 * line * len(cells)
    _table(card, cells, (0.03, 1 - 1.2 * line - height, 0.95, height), [])


def _number(card: Axes, panel: Panel, source: Source) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    answers = source.over_time(panel["targets"][0]["expr"])
    values = answers[0].values if answers else []
    last = next((value for value in reversed(values) if not math.isnan(value)), math.nan)
    card.set_facecolor(of_threshold(last, defaults["thresholds"]["steps"]))
    course = card.inset_axes((0, 0, 1, 0.3))
    course.set_axis_off()
    course.fill_between(range(len(values)), values, color="white", alpha=0.35)
    words = told(last, defaults["unit"])
    card.text(0.5, 0.45, words, ha="center", va="center", fontsize=20, weight="bold", color="white")


def _over_time(card: Axes, panel: Panel, source: Source) -> Axes:
    line, defaults = 1 / panel["gridPos"]["h"], panel["fieldConfig"]["defaults"]
    found = [
        (named(target["legendFormat"], each.labels), each.values)
        for target in panel["targets"]
        for each in source.over_time(target["expr"])
    ]
    room = (1 + min(len(found), LINES_MOST)) * 0.6 * line
    axes = _timed(card, (0.08, room + 1.1 * line, 0.9, 1 - room - 2.3 * line), source)
    stacking = defaults["custom"].get("stacking", {}).get("mode", "none")
    style = styles(panel, [name for name, _ in found])
    _STACKED[stacking](axes, days(source), found, style)
    axes.set_ylabel("share" if stacking == "percent" else AXIS[defaults["unit"]], fontsize=SMALL)
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the names of alerts
    _table(card, _legend(found, defaults["unit"]), (0.05, 0, 0.93, room), [style[name] for name, _ in found])
    return axes


def _curves(axes: Axes, times: Sequence[float], found: Lines, style: Mapping[str, Style]) -> None:
    for name, values in found:
        colour, opacity, width, dashes = style[name]
        axes.plot(times, values, color=colour, linewidth=width, linestyle=dashes)
        axes.fill_between(times, values, color=colour, alpha=opacity, linewidth=0)


def _layers(axes: Axes, times: Sequence[float], found: Lines, style: Mapping[str, Style]) -> None:
    if found:
        values = [np.nan_to_num(values) for _, values in found]
        axes.stackplot(times, *values, colors=[style[name].colour for name, _ in found], alpha=0.75)


def _shares(axes: Axes, times: Sequence[float], found: Lines, style: Mapping[str, Style]) -> None:
    if not found:
        return
    whole = np.sum([np.nan_to_num(values) for _, values in found], axis=0)
    parts = [(name, list(np.nan_to_num(values) / np.where(whole > 0, whole, 1))) for name, values in found]
    _layers(axes, times, parts, style)


def _heat(card: Axes, panel: Panel, source: Source) -> Axes:
    line, (target,) = 1 / panel["gridPos"]["h"], panel["targets"]
    buckets = sorted(source.over_time(target["expr"]), key=lambda each: float(each.labels["le"]))
    bounds = [float(each.labels["le"]) for each in buckets]
    axes = _timed(card, (0.08, 1.1 * line, 0.9, 1 - 2.3 * line), source)
    if not buckets:
        return axes
    counts = np.diff([np.nan_to_num(each.values) for each in buckets], axis=0, prepend=0)
    shown = np.ma.masked_less_equal(counts, 0)
    axes.pcolormesh(days(source), range(len(bounds)), shown, cmap="Reds", shading="nearest")
    axes.set_yticks(range(len(bounds)), [f"≤ {bound:g}" for bound in bounds], fontsize=SMALL - 1)
    axes.set_ylabel(AXIS[panel["options"]["yAxis"]["unit"]], fontsize=SMALL)
    for moment, value in source.exemplars(target["expr"]):
        height = sum(value > bound for bound in bounds)
        axes.plot(moment / DAY, height, "D", color=COLOURS["purple"], markersize=1.5)
    return axes


def _columns(card: Axes, panel: Panel, source: Source) -> None:
    line = 1 / panel["gridPos"]["h"]
    names = list(panel["transformations"][1]["options"]["renameByName"].values())
    overrides = panel["fieldConfig"]["overrides"]
    units = {each["matcher"]["options"]: each["properties"][0]["value"] for each in overrides}
    asked = [dict(_by_host(target, source)) for target in panel["targets"]]
    hosts = sorted(asked[0], key=lambda host: -asked[0][host])[:LINES_MOST]
    lines = [[*host, *_told(host, asked, [units.get(name, "short") for name in names])] for host in hosts]
    height = 0.9 * line * (len(lines) + 1)
    _table(card, [["instance", "job", *names], *lines], (0.01, 1 - 1.2 * line - height, 0.98, height), [])


def _by_host(target: Mapping[str, Any], source: Source) -> list[tuple[tuple[str, str], float]]:
    return [((labels["instance"], labels["job"]), value) for labels, value in source.at_end(target["expr"])]


def _told(
    host: tuple[str, str], asked: Sequence[Mapping[tuple[str, str], float]], units: Sequence[str]
) -> list[str]:
    return [told(answer.get(host, math.nan), unit) for answer, unit in zip(asked, units, strict=True)]


def _legend(found: Lines, unit: str) -> Cells:
    lines = [["", "mean", "max", "last"]]
    for name, values in found:
        known = [value for value in values if not math.isnan(value)] or [math.nan]
        numbers = (sum(known) / len(known), max(known), known[-1])
        lines.append([name, *(told(value, unit) for value in numbers)])
    return lines[: LINES_MOST + 1]


def _table(card: Axes, cells: Cells, box: Box, marks: Sequence[Style]) -> None:
    """Write a table into a part of the card; marks: of its lines, where they stand for drawn ones."""
    left, bottom, width, height = box
    for n, words in enumerate(cells):
        level = bottom + height * (1 - (n + 0.5) / len(cells))
        if n and marks:
            colour, _, _, dashes = marks[n - 1]
            card.plot([left - 0.04, left - 0.01], [level, level], color=colour, linestyle=dashes)
        for column, word in enumerate(words):
            place = left + width * (column + bool(column)) / (len(words) + 1)  # the first has room for two
            card.text(place, level, word, fontsize=SMALL, va="center", weight="normal" if n else "bold")


def _timed(card: Axes, box: Box, source: Source) -> Axes:
    """Return axes for the stretch of time, with a grid, in a part of the card."""
    axes = card.inset_axes(box)
    times = days(source)
    axes.set_xlim(times[0], times[-1])
    axes.xaxis_date()
    axes.set_xlabel("time, UTC", fontsize=SMALL - 1, labelpad=1)
    axes.tick_params(labelsize=SMALL - 1, length=2)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


_STACKED = {"none": _curves, "normal": _layers, "percent": _shares}
DRAWN: Mapping[str, Callable[[Axes, Panel, Source], Axes | None]] = {
    "row": _row,
    "alertlist": _alerts,
    "stat": _number,
    "timeseries": _over_time,
    "heatmap": _heat,
    "table": _columns,
}
