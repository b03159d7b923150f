"""The store's totals as OpenTelemetry's counters.

Owns their names and how they leave. Nothing is counted here: the SDK observes, at each of its intervals,
what the sidecar told last. To OTLP a start time that changes is a reset to 0, so counters start at the birth
of the store and not, as the SDK has it, with the process; and they are cumulative whatever the environment
prefers, for after a start the difference to "before" would be everything.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
    Sum,
)
from opentelemetry.sdk.resources import Resource

from observability.otlp.exporter import NAME, Setup, Snapshot, signal_endpoint
from observability.otlp.session import session
from observability.store import families

COUNTERS = {
    "qmail_popup.auth.attempts": (families.ATTEMPTS, "{attempt}"),
    "qmail_popup.sessions": (families.SESSIONS, "{session}"),
    "qmail_popup.subprogram.exits": (families.EXITS, "{exit}"),
    "qmail_popup.tls.sessions": (families.TLS, "{session}"),
}
ACTIVE = "qmail_popup.sessions.active"

_CUMULATIVE: dict[type, AggregationTemporality] = {ObservableCounter: AggregationTemporality.CUMULATIVE}

Observe = Callable[[CallbackOptions], Iterable[Observation]]


class Counters:
    """The latest totals, and the SDK that sends them each minute (or OTEL_METRIC_EXPORT_INTERVAL)."""

    def __init__(self, setup: Setup, resource: Resource) -> None:
        """Send, once there are totals, to the endpoint of setup or to where the environment says."""
        self._latest: Snapshot | None = None
        exporter = _FromBirth(setup.born, signal_endpoint(setup.endpoint, "metrics"))
        reader = PeriodicExportingMetricReader(exporter)
        self._provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = self._provider.get_meter(NAME, setup.version)
        for name, (family, unit) in COUNTERS.items():
            meter.create_observable_counter(name, [self._observer(family)], unit, family.help)
        meter.create_observable_gauge(ACTIVE, [self._active], "{session}", "Connections now.")

    def take(self, snapshot: Snapshot) -> None:
        """Show these totals from now on."""
        self._latest = snapshot

    def close(self) -> None:
        """Send the latest once more."""
        self._provider.shutdown()

    def _observer(self, family: families.Family) -> Observe:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            for (name, *labels), value in self._latest.values.items() if self._latest else ():
                if name == family.name:
                    yield Observation(value, dict(zip(family.labels, labels, strict=True)))

        return observe

    def _active(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._latest.active)] if self._latest else []


class _FromBirth(OTLPMetricExporter):
    """The SDK's own exporter, but for the start time."""

    def __init__(self, born: int, endpoint: str | None) -> None:
        super().__init__(endpoint=endpoint, preferred_temporality=_CUMULATIVE, session=session())
        self._born = born

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float | None = 10_000,
        **kwargs: Any,  # noqa: ANN401  whatever the SDK adds
    ) -> MetricExportResult:
        """Export, as counted since the store's birth."""
        return super().export(_since(self._born, metrics_data), timeout_millis or 10_000, **kwargs)


def _since(born: int, data: MetricsData) -> MetricsData:
    return replace(
        data,
        resource_metrics=[
            replace(
                resource,
                scope_metrics=[
                    replace(scope, metrics=[_dated(born, metric) for metric in scope.metrics])
                    for scope in resource.scope_metrics
                ],
            )
            for resource in data.resource_metrics
        ],
    )


def _dated(born: int, metric: Metric) -> Metric:
    if not isinstance(metric.data, Sum):
        return metric  # a gauge has no beginning
    points = [replace(point, start_time_unix_nano=born) for point in metric.data.data_points]
    return replace(metric, data=replace(metric.data, data_points=points))
