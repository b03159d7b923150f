"""The metrics over OTLP: what a collector gets is what stands on /metrics, over the sidecar's lives."""

from collections.abc import Mapping
from pathlib import Path

from observability.event import build
from tests.support import translation
from tests.support.collector import Collector
from tests.support.sidecar import REJECTED, RunningSidecar, deliver, fields
from tests.support.waiting import eventually

QUICK = {"OTEL_METRIC_EXPORT_INTERVAL": "200"}
SESSIONS: list[Mapping[str, bytes | None]] = [
    {},
    {**REJECTED, "REASON": b"credentials"},
    {"TLS": b"TLSv1.3", "PROTOCOL": b"POP3S"},
    {"RECORD": None, "ENDED": b"quit", "STATUS": None},
]

Samples = dict[translation.Sample, float]


def sent(collector: Collector) -> Samples:
    """Return what Prometheus would make of the latest export."""
    bodies = [request.body for request in collector.requests if request.path == "/v1/metrics"]
    return translation.samples(bodies[-1]) if bodies else {}


def shown(sidecar: RunningSidecar) -> Samples:
    """Return the same from /metrics, but what is not ours: process_* and python_info."""
    return {
        (
            name,
            frozenset((label, str(float(value)) if label == "le" else value) for label, value in labels),
        ): value
        for (name, labels), value in sidecar.numbers().items()
        if name.startswith("qmail_popup_")
    }


def test_a_collector_gets_what_stands_on_metrics(tmp_path: Path) -> None:
    """Every series, histograms too, by the names that Prometheus gives them, over three kills."""
    options = ("--otlp-metrics", "--sessions-limit=40")
    expected: Samples = {}
    with Collector() as collector:
        for _ in range(4):
            with RunningSidecar(tmp_path, "--otlp", collector.url, *options, environ=QUICK) as sidecar:
                for changes in SESSIONS:
                    assert deliver(sidecar.socket, build(fields(changes)))
                assert eventually(lambda: shown(sidecar) == sent(collector))
                expected = shown(sidecar)
        starts = [
            translation.starts(request.body)
            for request in collector.requests
            if request.path == "/v1/metrics"
        ]
    assert 1 == len(set.union(*starts))
    assert 4 == expected["qmail_popup_tls_sessions_total", frozenset({("version", "TLSv1.3")})]
    names = {name for name, _ in expected}
    assert {"qmail_popup_session_duration_seconds_bucket", "qmail_popup_telemetry_spool_bytes"} <= names


def test_the_last_word_is_sent_at_the_end(tmp_path: Path) -> None:
    """Without waiting for the interval, and the sessions that are connected with it."""
    with (
        Collector() as collector,
        RunningSidecar(tmp_path, "--otlp", collector.url, "--otlp-metrics") as sidecar,
    ):
        assert deliver(sidecar.socket, build(fields()))
        assert eventually(lambda: len(collector.spans()) == 2)  # so the exporter is at work
        expected = shown(sidecar)
        assert 0 == sidecar.stop()
        assert expected == sent(collector)


def test_metrics_only_where_they_are_wanted(tmp_path: Path) -> None:
    """Spans alone bring none."""
    with Collector() as collector, RunningSidecar(tmp_path, "--otlp", collector.url) as sidecar:
        assert deliver(sidecar.socket, build(fields()))
        assert eventually(lambda: len(collector.spans()) == 2)
        assert 0 == sidecar.stop()
        assert [] == collector.points()
