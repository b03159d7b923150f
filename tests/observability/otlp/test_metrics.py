"""The counters over OTLP, from the same store as /metrics, over the sidecar's lives."""

from collections.abc import Mapping
from pathlib import Path

from observability.event import build
from tests.support.collector import Collector
from tests.support.sidecar import REJECTED, RunningSidecar, deliver, eventually, fields

QUICK = {"OTEL_METRIC_EXPORT_INTERVAL": "200"}
NAMES = {
    "qmail_popup.auth.attempts": "qmail_popup_auth_attempts_total",
    "qmail_popup.sessions": "qmail_popup_sessions_total",
    "qmail_popup.subprogram.exits": "qmail_popup_subprogram_exits_total",
    "qmail_popup.tls.sessions": "qmail_popup_tls_sessions_total",
}
SESSIONS: list[Mapping[str, bytes | None]] = [
    {},
    REJECTED,
    {"TLS": b"TLSv1.3", "PROTOCOL": b"POP3S"},
    {"RECORD": None, "ENDED": b"quit", "STATUS": None},
]

Totals = dict[tuple[str, frozenset[tuple[str, str]]], float]


def sent(collector: Collector) -> Totals:
    """Return the counters as they were exported last, by the names of /metrics."""
    latest = collector.points()[-1] if collector.points() else {}
    return {
        (NAMES[name], frozenset((label, str(value)) for label, value in labels)): point.value
        for name, points in latest.items()
        if name in NAMES
        for labels, point in points.items()
    }


def shown(sidecar: RunningSidecar) -> Totals:
    """Return the same from /metrics."""
    return {sample: value for sample, value in sidecar.metrics().items() if sample[0] in NAMES.values()}


def test_the_totals_are_those_of_metrics_over_three_kills(tmp_path: Path) -> None:
    """Series by series, with the start time of the store and not of a process."""
    expected: Totals = {}
    with Collector() as collector:
        for _ in range(4):
            with RunningSidecar(
                tmp_path, "--otlp", collector.url, "--otlp-metrics", environ=QUICK
            ) as sidecar:
                for changes in SESSIONS:
                    assert deliver(sidecar.socket, build(fields(changes)))
                expected = shown(sidecar)
                assert eventually(lambda wanted=expected: wanted == sent(collector))  # type: ignore[misc]
        starts = {
            point.start
            for points in collector.points()
            for name in NAMES
            for point in points.get(name, {}).values()
        }
    assert 1 == len(starts)
    assert 4 == expected["qmail_popup_tls_sessions_total", frozenset({("version", "TLSv1.3")})]


def test_the_last_word_is_sent_at_the_end(tmp_path: Path) -> None:
    """Without waiting for the interval, and the sessions that are connected with it."""
    with (
        Collector() as collector,
        RunningSidecar(tmp_path, "--otlp", collector.url, "--otlp-metrics") as sidecar,
    ):
        assert deliver(sidecar.socket, build(fields()))
        expected = shown(sidecar)
        assert 0 == sidecar.stop()
        assert expected == sent(collector)
        assert [0] == [
            point.value for point in collector.points()[-1]["qmail_popup.sessions.active"].values()
        ]


def test_counters_only_where_they_are_wanted(tmp_path: Path) -> None:
    """Spans alone bring none."""
    with Collector() as collector, RunningSidecar(tmp_path, "--otlp", collector.url) as sidecar:
        assert deliver(sidecar.socket, build(fields()))
        assert 0 == sidecar.stop()
        assert (2, []) == (len(collector.spans()), collector.points())
