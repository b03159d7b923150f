"""What stands on /metrics: every series from the start, and what the store has committed."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from observability.arrivals.parsing import SOCKET, Arrival, parse
from observability.event import build
from observability.prometheus.collector import SidecarCollector, Sources
from observability.prometheus.collector import registry as registry_with_process
from observability.store import families
from observability.store.database import Committed
from observability.store.identities import Batch
from tests.support.programs import need
from tests.support.sidecar import REJECTED, START, fields

TRACE = "0123456789abcdef" * 2
NOW = 1_700_000_000.0


def registry_of(committed: Committed, sessions_limit: int | None = 40) -> CollectorRegistry:
    """Return a registry that shows committed."""
    registry = CollectorRegistry()
    sources = Sources(lambda: committed, lambda: 7, lambda: 4096, sessions_limit, "1.2.3")
    registry.register(SidecarCollector(sources))
    return registry


@pytest.fixture
def nothing() -> Committed:
    """Return what a new store holds."""
    return Committed(families.at_start(), {}, 0)


@pytest.fixture
def something() -> Committed:
    """Return what it holds after three refusals that took 0.3, 4 and 40 seconds."""
    batch = Batch({}, NOW)
    for seconds in (0.3, 4, 40):
        exited = b"%d" % (START + 50_000_000 + int(seconds * 1e9))
        told = fields({**REJECTED, "T_EXITED": exited, "T_ENDED": exited})
        batch.add([Arrival(SOCKET, parse(build({**told, b"TRACE": f"{seconds:032.0f}".encode()})[:-2]))])
    added = batch.increments()
    values = {key: value + added.get(key, 0) for key, value in families.at_start().items()}
    return Committed(values, batch.exemplars(), NOW)


def samples(registry: CollectorRegistry) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield what the plain text format shows."""
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            yield sample.name, dict(sample.labels), sample.value


@pytest.mark.parametrize(
    ("name", "labels", "series"),
    [
        ("auth_attempts_total", {"result", "method", "protocol"}, 9),
        ("auth_failures_total", {"reason", "method", "protocol"}, 21),
        ("sessions_total", {"ended", "protocol"}, 24),
        ("sessions_active", set(), 1),
        ("sessions_limit", set(), 1),
        ("session_duration_seconds_bucket", {"ended", "protocol", "le"}, 10 * 2 * 9),
        ("session_duration_seconds_count", {"ended", "protocol"}, 20),
        ("auth_rejected_duration_seconds_bucket", {"protocol", "le"}, 2 * 12),
        ("subprogram_exits_total", {"status"}, 6),
        ("tls_sessions_total", {"version"}, 5),
        ("telemetry_events_total", {"source"}, 3),
        ("telemetry_events_dropped_total", {"reason"}, 3),
        ("telemetry_spans_dropped_total", set(), 1),
        ("telemetry_pushes_total", {"result"}, 2),
        ("telemetry_log_lines_lost_total", set(), 1),
        ("telemetry_textfile_writes_total", {"result"}, 2),
        ("telemetry_commits_failed_total", set(), 1),
        ("telemetry_paths_lost_total", {"path"}, 6),
        ("telemetry_log_gaps_total", set(), 1),
        ("telemetry_spool_bytes", set(), 1),
        ("telemetry_last_event_timestamp_seconds", set(), 1),
        ("build_info", {"version", "python_version"}, 1),
    ],
)
def test_every_series_exists_from_the_start(
    nothing: Committed, name: str, labels: set[str], series: int
) -> None:
    """Before anything happened a dashboard finds all of it, with the labels that it knows."""
    found = [told for full, told, _ in samples(registry_of(nothing)) if full == f"qmail_popup_{name}"]
    assert series == len(found)
    assert all(labels == told.keys() for told in found)


def test_counters_start_at_zero_and_have_no_created(nothing: Committed) -> None:
    """A first login is an increase from 0, and no series stands beside another to say when it began."""
    shown = list(samples(registry_of(nothing)))
    assert {0.0} == {
        value for name, _, value in shown if name.endswith(("_total", "_bucket", "_count", "_sum"))
    }
    assert not any(name.endswith("_created") for name, _, _ in shown)


def test_attempts_have_the_words_of_the_record(nothing: Committed) -> None:
    """Any is a method only of a refusal in the clear."""
    attempts = [told for name, told, _ in samples(registry_of(nothing)) if "auth_attempts" in name]
    assert [{"result": "rejected", "method": "Any", "protocol": "POP3"}] == [
        told for told in attempts if told["method"] == "Any"
    ]


def test_without_a_limit_there_is_no_series_for_it(nothing: Committed) -> None:
    """A ratio to a limit that nobody told would be a division by nothing."""
    names = {name for name, _, _ in samples(registry_of(nothing, None))}
    assert "qmail_popup_sessions_limit" not in names


def test_gauges_show_what_is_now(something: Committed) -> None:
    """They are asked, not counted."""
    shown = {name: value for name, _, value in samples(registry_of(something))}
    wanted = ("sessions_active", "sessions_limit", "telemetry_spool_bytes")
    assert [7, 40, 4096] == [shown[f"qmail_popup_{name}"] for name in wanted]
    assert NOW == shown["qmail_popup_telemetry_last_event_timestamp_seconds"]


def test_buckets_count_all_that_is_below(something: Committed) -> None:
    """Ten is written 10.0, as queries have it."""
    prefix = "qmail_popup_auth_rejected_duration_seconds"
    shown = {
        (name.removeprefix(prefix), told.get("le")): value
        for name, told, value in samples(registry_of(something))
        if name.startswith(prefix) and told["protocol"] == "POP3"
    }
    bounds = ["0.25", "0.5", "2.5", "5.0", "10.0", "30.0", "+Inf"]
    assert [0, 1, 1, 2, 2, 2, 3] == [shown["_bucket", bound] for bound in bounds]
    assert 3 == shown["_count", None]
    assert 44.3 == pytest.approx(shown["_sum", None])


def test_openmetrics_carries_the_latest_trace(something: Committed) -> None:
    """An exemplar stands at the attempt and at the bucket that the session fell into, in no text format."""
    expose, _ = choose_encoder("application/openmetrics-text")
    exposed = expose(registry_of(something)).decode()
    exemplars = {
        (sample.name, sample.labels.get("le")): sample.exemplar
        for family in parse_openmetrics(exposed)  # type: ignore[no-untyped-call]  # it has no annotations
        for sample in family.samples
        if sample.exemplar
    }
    attempt = exemplars["qmail_popup_auth_attempts_total", None]
    assert ({"trace_id": "40".zfill(32)}, 1.0, NOW) == (
        attempt.labels,
        attempt.value,
        float(attempt.timestamp),
    )
    refusal = exemplars["qmail_popup_auth_rejected_duration_seconds_bucket", "5.0"]
    assert ({"trace_id": "4".zfill(32)}, 4.0) == (refusal.labels, refusal.value)
    assert ("qmail_popup_session_duration_seconds_bucket", "60.0") in exemplars
    assert "_created" not in exposed
    assert b"trace_id" not in generate_latest(registry_of(something))


def test_prometheus_finds_nothing_to_say_about_it(something: Committed) -> None:
    """Names, types and help are as its own tool wants them."""
    (promtool,) = need("promtool")
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(registry_of(something)),
        capture_output=True,
        check=False,
    )
    assert (0, b"", b"") == (checked.returncode, checked.stdout, checked.stderr)


def test_a_total_that_a_newer_program_left_is_passed_over(nothing: Committed) -> None:
    """A series of no family that we know is shown nowhere, and hurts nothing."""
    odd = nothing._replace(values={**nothing.values, ("from_the_future", "a", "b"): 5})
    assert generate_latest(registry_of(nothing)) == generate_latest(registry_of(odd))


def test_the_exposition_is_the_golden_one(something: Committed) -> None:
    """To the byte: whoever changes a name, a label or a help text sees it in the difference."""
    golden = Path(__file__).with_name("exposition.prom")
    shown = generate_latest(registry_of(something)).decode()
    assert golden.read_text() == re.sub('python_version="[^"]*"', 'python_version="3.11.2"', shown)


def test_every_family_can_be_asked_for_by_its_name(something: Committed) -> None:
    """Alone, and with all its series."""
    registry = registry_of(something)
    names = [family.name for family in registry.collect()]
    restricted = [registry.restricted_registry([*_samples_of(name, registry)]) for name in names]
    assert [[name] for name in names] == [[found.name for found in only.collect()] for only in restricted]


def _samples_of(name: str, registry: CollectorRegistry) -> set[str]:
    return {sample.name for family in registry.collect() if family.name == name for sample in family.samples}


def test_what_is_about_the_process_can_be_asked_for_by_name(nothing: Committed) -> None:
    """A scrape with name[] gets process_* and python_info like all other families."""
    made = registry_with_process(Sources(lambda: nothing, lambda: 7, lambda: 4096, 40, "1.2.3"))
    wanted = ["process_open_fds", "python_info", "qmail_popup_sessions_limit"]
    shown = generate_latest(made.restricted_registry(wanted)).decode()
    assert wanted == sorted(family.name for family in text_string_to_metric_families(shown))
