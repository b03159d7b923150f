"""The totals as Prometheus families.

Owns names, types and help of what stands on /metrics. Nothing is counted here: each scrape reads what the
store has committed, so that a number never goes back, and no series has a `_created` beside it.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from observability.store import families as totals
from observability.store.database import Totals
from observability.store.identities import Example

PREFIX = "qmail_popup_"


class Sources(NamedTuple):
    """Where the numbers are, asked at each scrape and from another thread than the loop's."""

    totals: Callable[[], Totals]
    active: Callable[[], int] | None  # a pusher does not know
    spool_bytes: Callable[[], int]
    sessions_limit: int | None  # as the operator told it; without that there is no such series
    version: str


class SidecarCollector(Collector):
    """Everything that the sidecar has to show."""

    def __init__(self, sources: Sources) -> None:
        """Show what sources have."""
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Yield all families, of one moment."""
        committed = self._sources.totals()
        rows = _by_family(committed.values)
        for family in totals.COUNTERS:
            yield _counter(family, rows[family.name], committed.examples)
        for family in totals.HISTOGRAMS:
            yield _histogram(family, rows[family.name], committed.examples)
        yield from self._gauges(committed)

    def _gauges(self, committed: Totals) -> Iterator[Metric]:
        sources = self._sources
        if sources.active:
            yield _gauge("sessions_active", "Connections now.", sources.active())
        if sources.sessions_limit is not None:
            yield _gauge("sessions_limit", "Connections that the server allows.", sources.sessions_limit)
        yield _gauge("telemetry_spool_bytes", "Size of what waits in the spool.", sources.spool_bytes())
        yield _gauge(
            "telemetry_last_event_timestamp_seconds", "When an event last arrived.", committed.last_event
        )
        build = GaugeMetricFamily(
            f"{PREFIX}build_info", "Which program this is.", labels=("version", "python_version")
        )
        build.add_metric((sources.version, platform.python_version()), 1)
        yield build


def registry(sources: Sources) -> CollectorRegistry:
    """Return a registry of its own for what sources have."""
    made = CollectorRegistry()
    made.register(SidecarCollector(sources))
    return made


def exposition(sources: Sources) -> bytes:
    """Return what sources have now, in Prometheus' text format 0.0.4."""
    return generate_latest(registry(sources))


def _by_family(values: Mapping[str, float]) -> dict[str, dict[tuple[str, ...], float]]:
    rows: dict[str, dict[tuple[str, ...], float]] = {}
    for key, value in values.items():
        name, *labels = key.split(" ")
        rows.setdefault(name, {})[tuple(labels)] = value
    return rows


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value)


def _counter(
    family: totals.Family, rows: Mapping[tuple[str, ...], float], examples: Mapping[str, Example]
) -> Metric:
    metric = CounterMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
    for labels, value in rows.items():
        metric.add_metric(labels, value, exemplar=_exemplar(examples.get(" ".join((family.name, *labels)))))
    return metric


def _histogram(
    family: totals.Family, rows: Mapping[tuple[str, ...], float], examples: Mapping[str, Example]
) -> Metric:
    metric = HistogramMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
    bounds = (*family.buckets, totals.OVER)
    for labels in dict.fromkeys(row[:-1] for row in rows):
        counts = accumulate(rows.get((*labels, bound), 0) for bound in bounds)
        exemplars = (_exemplar(examples.get(" ".join((family.name, *labels, bound)))) for bound in bounds)
        buckets = [_bucket(*bucket) for bucket in zip(bounds, counts, exemplars, strict=True)]
        metric.add_metric(labels, buckets, rows.get((*labels, totals.SUM), 0))
    return metric


def _bucket(
    bound: str, count: float, exemplar: Exemplar | None
) -> tuple[str, float] | tuple[str, float, Exemplar]:
    return (bound, count, exemplar) if exemplar else (bound, count)


def _exemplar(example: Example | None) -> Exemplar | None:
    return Exemplar({"trace_id": example.trace}, example.value, example.time) if example else None
