"""Converts OTLP metrics to Prometheus's names and labels, as its documentation of OTLP specifies."""

import re
from collections.abc import Iterator
from itertools import accumulate

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric

from tests.support.collector import attributes

Sample = tuple[str, frozenset[tuple[str, str]]]

_UNITS = {"s": "seconds", "By": "bytes"}  # the part of its table that we use


def samples(body: bytes) -> dict[Sample, float]:
    """Return the samples that Prometheus stores for an export; le as a number, as its notation varies."""
    found: dict[Sample, float] = {}
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for sample, value in _samples(metric):
                    assert sample not in found
                    found[sample] = value
    return found


def starts(body: bytes) -> set[int]:
    """Return the start times of all points except those of gauges."""
    return {
        point.start_time_unix_nano
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in (*metric.sum.data_points, *metric.histogram.data_points)
    }


def name_of(metric: Metric) -> str:
    """Return a metric's name: dots become underscores, followed by the unit, and _total for a counter."""
    tokens = [token for token in re.split("[^a-zA-Z0-9]+", metric.name) if token]
    assert metric.unit != "1", "that would be a ratio"
    unit = _UNITS.get(metric.unit, re.sub(r"\{.*\}", "", metric.unit))
    if unit and unit not in tokens:
        tokens.append(unit)
    if metric.HasField("sum") and metric.sum.is_monotonic:
        tokens = [*(token for token in tokens if token != "total"), "total"]
    return "_".join(tokens)


def _samples(metric: Metric) -> Iterator[tuple[Sample, float]]:
    name = name_of(metric)
    for point in (*metric.sum.data_points, *metric.gauge.data_points):
        kind = point.WhichOneof("value")
        assert kind
        yield _sample(name, attributes(point.attributes)), getattr(point, kind)
    for histogram in metric.histogram.data_points:
        yield from _buckets(name, histogram)


def _buckets(name: str, point: HistogramDataPoint) -> Iterator[tuple[Sample, float]]:
    labels = attributes(point.attributes)
    bounds = [*point.explicit_bounds, float("inf")]
    for bound, count in zip(bounds, accumulate(point.bucket_counts), strict=True):
        yield _sample(f"{name}_bucket", {**labels, "le": str(bound)}), count
    yield _sample(f"{name}_count", labels), point.count
    yield _sample(f"{name}_sum", labels), point.sum


def _sample(name: str, labels: dict[str, str | int]) -> Sample:
    return name, frozenset((label.replace(".", "_"), str(value)) for label, value in labels.items())
