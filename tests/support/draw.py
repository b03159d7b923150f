"""Pictures of the dashboards, from a Prometheus: `python -m tests.support.draw URL DIRECTORY [MINUTES]`.

For where no Grafana is at hand. Owns where a panel stands on paper, and the alerts: they are shaded wherever
there is an axis of time. What Prometheus cannot answer is an empty frame.
"""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tests.support import pictures
from tests.support.asking import Source, Stretch
from tests.support.descriptors import CHECKOUT
from tests.support.paper import COLOURS

COLUMNS, COLUMN_INCHES, LINE_INCHES, HEAD_LINES = 24, 0.62, 0.3, 2
NAMED_FROM = 18  # columns: narrower panels have no room for the names of alerts
POINTS = 240  # of time, in a picture
COLOURS_MOST = 240  # in a file


class Alert(NamedTuple):
    """An alert that fired; start and end in days since 1970."""

    name: str
    start: float
    end: float


def draw_all(url: str, directory: Path, stretch: Stretch, dpi: int = 100) -> list[Path]:
    """Draw all dashboards from the Prometheus at url into a directory; return the files."""
    source, drawn = Source(url, stretch), []
    for file in sorted((CHECKOUT / "dashboards").glob("*.json")):
        drawn.append(directory / f"{file.stem.removeprefix('qmail-popup-')}.png")
        draw(source, json.loads(file.read_text(encoding="utf-8")), drawn[-1], dpi)
    return drawn


def draw(source: Source, dashboard: Mapping[str, Any], path: Path, dpi: int = 100) -> None:
    """Draw a dashboard into a PNG."""
    panels = drawable(dashboard["panels"])
    lines = HEAD_LINES + max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(COLUMNS * COLUMN_INCHES, lines * LINE_INCHES), facecolor="#f4f5f5")
    figure.text(0.012, 1 - 1.3 / lines, dashboard["title"], fontsize=15, weight="bold")
    alerts = firing(source, dashboard)
    for panel in panels:
        drawn = pictures.draw(card(figure, panel["gridPos"], lines), panel, source)
        if drawn:
            shade(drawn, alerts, named=panel["gridPos"]["w"] >= NAMED_FROM)
    figure.savefig(path, dpi=dpi)
    with Image.open(path) as picture:  # the same at a third of the size
        picture.convert("RGB").quantize(COLOURS_MOST).save(path, optimize=True)


def drawable(panels: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the panels down to the last one that Prometheus can answer, and no heading behind it."""
    last = max(n for n, panel in enumerate(panels) if panel.get("datasource", {}).get("type") == "prometheus")
    return list(panels[: last + 1])


def card(figure: Figure, grid: Mapping[str, int], lines: int) -> Axes:
    """Return an empty card where the dashboard has the panel."""
    bottom = 1 - (HEAD_LINES + grid["y"] + grid["h"]) / lines
    box = (grid["x"] / COLUMNS + 0.003, bottom, grid["w"] / COLUMNS - 0.006, (grid["h"] - 0.25) / lines)
    axes = figure.add_axes(box, facecolor="white")
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1), autoscale_on=False)
    axes.spines[:].set_color("#dddddd")
    return axes


def firing(source: Source, dashboard: Mapping[str, Any]) -> list[Alert]:
    """Return the alerts that fired, each from its first host's to its last one's."""
    (annotation,) = dashboard["annotations"]["list"]
    times: dict[str, list[float]] = {}
    for labels, values in source.over_time(annotation["expr"]):
        fired = [
            day for day, value in zip(pictures.days(source), values, strict=True) if not math.isnan(value)
        ]
        times.setdefault(labels["alertname"].removeprefix("QmailPopup"), []).extend(fired)
    return [Alert(name, min(fired), max(fired)) for name, fired in times.items()]


def shade(axes: Axes, alerts: Sequence[Alert], *, named: bool) -> None:
    """Mark when alerts fired."""
    top, red = axes.get_xaxis_transform(), COLOURS["red"]
    for n, (name, start, end) in enumerate(alerts):
        axes.axvspan(start, end, color=red, alpha=0.06)
        axes.axvline(start, color=red, linewidth=0.8, linestyle=":")
        if named:
            level, paper = 1 - 0.1 * n, {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5}
            axes.text(start, level, name, transform=top, fontsize=6, color=red, va="top", bbox=paper)


def main(arguments: Sequence[str]) -> None:
    """Draw the last minutes, an hour where none are named."""
    url, directory, *rest = arguments
    seconds = 60 * float(rest[0] if rest else 60)
    stretch = Stretch(time.time() - seconds, time.time(), seconds / POINTS, max(60, round(seconds / POINTS)))
    for path in draw_all(url, Path(directory), stretch):
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
