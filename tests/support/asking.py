"""Runs panels' queries against a Prometheus over one time range, as Grafana would.

Knows Prometheus's HTTP API. Draws nothing.
"""

import json
import math
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.support.panels import filled
from tests.support.waiting import TIMEOUT

Labels = Mapping[str, str]


class Stretch(NamedTuple):
    """A time range: seconds since 1970, and between two points; rates are over rate_seconds."""

    start: float
    end: float
    step: float
    rate_seconds: int


class Series(NamedTuple):
    """A result: labels, and a value for each point of the range, NaN if there is none."""

    labels: Labels
    values: list[float]


class Source:
    """A Prometheus and a time range."""

    def __init__(self, url: str, stretch: Stretch) -> None:
        """url: of the server."""
        self._url, self.stretch = url, stretch
        count = int((stretch.end - stretch.start) / stretch.step) + 1
        self.times = [stretch.start + n * stretch.step for n in range(count)]

    def over_time(self, expr: str) -> list[Series]:
        """Run a query over the whole range."""
        start, end, step, _ = self.stretch
        found = self._ask("query_range", query=self._filled(expr), start=start, end=end, step=step)
        return [Series(each["metric"], self._placed(each["values"])) for each in found["result"]]

    def at_end(self, expr: str) -> list[tuple[Labels, float]]:
        """Run a query at the end of the range."""
        found = self._ask("query", query=self._filled(expr), time=self.stretch.end)
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def exemplars(self, expr: str) -> list[tuple[float, float]]:
        """Return time and value of the exemplars of the series in an expression."""
        start, end, *_ = self.stretch
        found: Any = self._ask("query_exemplars", query=self._filled(expr), start=start, end=end)
        return [(dot["timestamp"], float(dot["value"])) for each in found for dot in each["exemplars"]]

    def _filled(self, expr: str) -> str:
        whole = f"{math.ceil(self.stretch.end - self.stretch.start)}s"
        return filled(expr, rate_interval=f"{self.stretch.rate_seconds}s", time_range=whole)

    def _placed(self, points: list[tuple[float, str]]) -> list[float]:
        start, _, step, _ = self.stretch
        known = {round((moment - start) / step): float(value) for moment, value in points}
        return [known.get(n, math.nan) for n in range(len(self.times))]

    def _ask(self, what: str, **words: str | float) -> dict[str, Any]:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - our own URL
            told: dict[str, Any] = json.load(answer)["data"]
        return told
