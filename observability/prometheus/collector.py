"""The store's contents as Prometheus families.

Owns names, types and help texts on /metrics. Nothing is counted here: each scrape reads what the store has
committed, so a counter never goes back, and no series has a `_created` series.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from observability.store import families
from observability.store.database import Committed
from observability.store.families import Family, Labels, Series
from observability.store.identities import Exemplar as Latest

PREFIX = "qmail_popup_"


class Sources(NamedTuple):
    """Where the numbers come from; called at each scrape, in a thread other than the loop's."""

    committed: Callable[[], Committed]
    active: Callable[[], int | None]  # None if unknown, as in a pusher
    spool_bytes: Callable[[], int]
    sessions_limit: int | None  # as set by the operator; the series is absent without it
    version: str
    logs_unreadable: Callable[[], int] = int


class SidecarCollector(Collector):
    """All families of the sidecar."""

    def __init__(self, sources: Sources) -> None:
        """Show what sources have."""
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Yield all families, from one moment."""
        committed = self._sources.committed()
        rows = _by_family(committed.values)
        for family in families.COUNTERS:
            yield _counter(family, rows[family.name], committed.exemplars)
        for family in families.HISTOGRAMS:
            yield _histogram(family, rows[family.name], committed.exemplars)
        looked_up = _by_family(gauges(self._sources))
        for family in families.GAUGES:
            if family.name in looked_up:
                yield _gauge(family, looked_up[family.name])

    def describe(self) -> Iterator[Metric]:
        """Yield all families without samples, so that each can be requested by name."""
        kinds = (
            (families.COUNTERS, CounterMetricFamily),
            (families.HISTOGRAMS, HistogramMetricFamily),
            (families.GAUGES, GaugeMetricFamily),
        )
        for group, kind in kinds:
            for family in group:
                yield kind(PREFIX + family.name, family.help)


def gauges(sources: Sources) -> dict[Series, float]:
    """Return the values that are read rather than counted: the series of families.GAUGES known here."""
    found: dict[Series, float] = {
        (families.LOGS_UNREADABLE.name,): sources.logs_unreadable(),
        (families.SPOOL_BYTES.name,): sources.spool_bytes(),
        (families.LAST_EVENT.name,): sources.committed().last_event,
        (families.BUILD.name, sources.version, platform.python_version()): 1,
    }
    if (active := sources.active()) is not None:
        found[families.ACTIVE.name,] = active
    if sources.sessions_limit is not None:
        found[families.SESSIONS_LIMIT.name,] = sources.sessions_limit
    return found


def registry(sources: Sources) -> CollectorRegistry:
    """Return the registry behind /metrics: the sources, and this process (process_*, python_info)."""
    made = CollectorRegistry(auto_describe=True)  # so that name[] also finds the process's metrics
    made.register(SidecarCollector(sources))
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    return made


def exposition(sources: Sources) -> bytes:
    """Return the sources' current values in Prometheus' text format 0.0.4.

    For a textfile or a Pushgateway, which have process_* metrics of their own.
    """
    made = CollectorRegistry()
    made.register(SidecarCollector(sources))
    return generate_latest(made)


def _by_family(values: Mapping[Series, float]) -> dict[str, dict[Labels, float]]:
    rows: dict[str, dict[Labels, float]] = {}
    for (name, *labels), value in values.items():
        rows.setdefault(name, {})[tuple(labels)] = value
    return rows


def _gauge(family: Family, rows: Mapping[Labels, float]) -> Metric:
    metric = GaugeMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
    for labels, value in rows.items():
        metric.add_metric(labels, value)
    return metric


def _counter(family: Family, rows: Mapping[Labels, float], exemplars: Mapping[Series, Latest]) -> Metric:
    metric = CounterMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
    for labels, value in rows.items():
        metric.add_metric(labels, value, exemplar=_exemplar(exemplars.get((family.name, *labels))))
    return metric


def _histogram(family: Family, rows: Mapping[Labels, float], exemplars: Mapping[Series, Latest]) -> Metric:
    metric = HistogramMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
    bounds = (*family.buckets, families.OVER)
    for labels in dict.fromkeys(row[:-1] for row in rows):
        counts = accumulate(rows.get((*labels, bound), 0) for bound in bounds)
        latest = (_exemplar(exemplars.get((family.name, *labels, bound))) for bound in bounds)
        buckets = [_bucket(*bucket) for bucket in zip(bounds, counts, latest, strict=True)]
        metric.add_metric(labels, buckets, rows.get((*labels, families.SUM), 0))
    return metric


def _bucket(
    bound: str, count: float, exemplar: Exemplar | None
) -> tuple[str, float] | tuple[str, float, Exemplar]:
    return (bound, count, exemplar) if exemplar else (bound, count)


def _exemplar(latest: Latest | None) -> Exemplar | None:
    return Exemplar({"trace_id": latest.trace}, latest.value, latest.time) if latest else None
