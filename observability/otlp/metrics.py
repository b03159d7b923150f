"""The store's values as OpenTelemetry metrics.

Owns their names and when they are sent. Nothing is counted here: each interval sends the latest values from
the sidecar, always cumulative, because after a restart a delta would be the whole total. In OTLP a changed
start time is a reset to 0, so all series start when the store was created, not, as with the SDK's
instruments, when the process started; and the SDK has no asynchronous histogram. So this uses only the SDK's
data model and exporter.

Prometheus' OTLP receiver derives the names of /metrics from these: dots become underscores, the unit becomes
a suffix (s: seconds, By: bytes; none for a unit in braces), and a counter ends in _total.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from observability.otlp.exporter import NAME, signal_endpoint
from observability.otlp.frames import Setup, Values
from observability.otlp.session import session
from observability.store import families
from observability.store.families import Family, Labels

INTERVAL = 60.0  # seconds, the SDK's default

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_ENDINGS = {"s": "_seconds", "By": "_bytes"}  # suffixes that a receiver adds for the unit

# The store does not record min and max. OTLP may omit them, but the SDK's types do not allow for it.
_UNKNOWN: Any = None

Rows = Mapping[Labels, float]


class OtlpMetrics:
    """The latest values, and the thread that sends them each minute (or OTEL_METRIC_EXPORT_INTERVAL)."""

    def __init__(self, setup: Setup, resource: Resource) -> None:
        """Once there are values, send them to the endpoint in setup or in the environment."""
        self._born, self._resource = setup.born, resource
        self._scope = InstrumentationScope(NAME, setup.version)
        self._latest: Values = {}
        self._exporter = OTLPMetricExporter(
            endpoint=signal_endpoint(setup.endpoint, "metrics"), session=session()
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def take(self, values: Values) -> None:
        """Send these values from now on."""
        self._latest = values

    def close(self) -> None:
        """Send the latest values once more."""
        self._stopping.set()
        self._thread.join()
        self._exporter.shutdown()

    def _run(self) -> None:
        interval = _interval(os.environ)
        while not self._stopping.wait(interval):
            self._send()
        self._send()

    def _send(self) -> None:
        if self._latest:
            metrics = list(metrics_of(self._latest, self._born, time.time_ns()))
            scope = ScopeMetrics(self._scope, metrics, schema_url="")
            self._exporter.export(MetricsData([ResourceMetrics(self._resource, [scope], schema_url="")]))


def name_of(family: Family) -> str:
    """Return a family's name in OpenTelemetry, without unit and _total."""
    return f"qmail_popup.{family.name.removesuffix(_ENDINGS.get(family.unit, '')).replace('_', '.')}"


def metrics_of(values: Values, born: int, now: int) -> Iterator[Metric]:
    """Yield all families that have values. born, now: nanoseconds since 1970."""
    rows: dict[str, dict[Labels, float]] = {}
    for (name, *labels), value in values.items():
        rows.setdefault(name, {})[tuple(labels)] = value
    for makers, make in (
        (families.COUNTERS, _sum),
        (families.HISTOGRAMS, _histogram),
        (families.GAUGES, _gauge),
    ):
        for family in makers:
            if found := rows.get(family.name):
                yield Metric(name_of(family), family.help, family.unit, make(family, found, born, now))


def _sum(family: Family, rows: Rows, born: int, now: int) -> Sum:
    points = [NumberDataPoint(_attributes(family, labels), born, now, rows[labels]) for labels in rows]
    return Sum(points, _CUMULATIVE, is_monotonic=True)


def _gauge(family: Family, rows: Rows, _born: int, now: int) -> Gauge:
    # A gauge has no start time.
    return Gauge([NumberDataPoint(_attributes(family, labels), 0, now, rows[labels]) for labels in rows])


def _histogram(family: Family, rows: Rows, born: int, now: int) -> Histogram:
    return Histogram(list(_histogram_points(family, rows, born, now)), _CUMULATIVE)


def _histogram_points(family: Family, rows: Rows, born: int, now: int) -> Iterable[HistogramDataPoint]:
    for labels in dict.fromkeys(row[:-1] for row in rows):
        counts = [int(rows.get((*labels, bound), 0)) for bound in (*family.buckets, families.OVER)]
        yield HistogramDataPoint(
            attributes=_attributes(family, labels),
            start_time_unix_nano=born,
            time_unix_nano=now,
            count=sum(counts),
            sum=rows.get((*labels, families.SUM), 0),
            bucket_counts=counts,
            explicit_bounds=[float(bound) for bound in family.buckets],
            min=_UNKNOWN,
            max=_UNKNOWN,
        )


def _attributes(family: Family, labels: Labels) -> dict[str, str]:
    return dict(zip(family.labels, labels, strict=True))


def _interval(environ: Mapping[str, str]) -> float:
    asked = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    return int(asked) / 1000 if asked.isdecimal() and int(asked) else INTERVAL
