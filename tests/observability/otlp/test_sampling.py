"""Which sessions have spans, how many, and which are kept."""

import os
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from observability.arrivals.parsing import Event, parse
from observability.event import ENDS, build
from observability.otlp.sampling import sampler, spans_in
from tests.support.descriptors import CHECKOUT
from tests.support.sidecar import REJECTED, fields

SESSIONS = 10_000


def event(changes: Mapping[str, bytes | None]) -> Event:
    """Return a session as it is parsed."""
    what = parse(build(fields(changes))[:-2])
    assert isinstance(what, Event)
    return what


def trace_of(found: Event) -> int:
    """Return its trace as the SDK has it."""
    return int.from_bytes(found.identity)


@pytest.mark.parametrize(
    ("changes", "spans"),
    [
        ({}, 2),
        ({"T_SPAWNED": None, "T_EXITED": None}, 1),
        ({"SPAN": None}, 1),
        ({"SPAN": b"0" * 16}, 1),
        ({"ENDED": None}, 0),
        ({"T_START": None}, 0),
        ({"T_ENDED": None}, 0),
        ({"TRACE": b"1" * 16 + b"0" * 16}, 0),
    ],
    ids=["both", "no subprogram", "no SPAN", "SPAN 0", "killed", "no start", "no end", "identity 0"],
)
def test_how_many_spans_tell_of_an_event(changes: dict[str, bytes | None], spans: int) -> None:
    """One for the session and one for its subprogram, where their times and identities are there."""
    assert spans == spans_in(event(changes))


@pytest.mark.parametrize("part", [0.0, 0.1, 1.0])
def test_a_part_of_the_accepted_sessions_is_kept(part: float) -> None:
    """The part that was asked for (five standard deviations of room), and by the same rule as the SDK's."""
    keeps, reference = sampler(part), TraceIdRatioBased(part)
    accepted = [event({"TRACE": os.urandom(16).hex().encode()}) for _ in range(SESSIONS)]
    kept = {trace_of(one) for one in accepted if keeps(one)}
    assert part == pytest.approx(len(kept) / SESSIONS, abs=5 * (part * (1 - part) / SESSIONS) ** 0.5)
    sampled = Decision.RECORD_AND_SAMPLE
    sdk = {
        trace_of(one)
        for one in accepted
        if sampled is reference.should_sample(None, trace_of(one), "").decision
    }
    assert sdk == kept


@pytest.mark.parametrize(
    "changes",
    [REJECTED, {"ENDED": b"crashed"}, {"ENDED": b"tls_required"}, {"ENDED": b"quit"}, {"ENDED": b"error"}],
    ids=lambda changes: changes["ENDED"].decode(),
)
def test_every_other_session_is_kept(changes: dict[str, bytes | None]) -> None:
    """However few of the accepted ones are wanted."""
    assert sampler(0.0)(event(changes))


def test_the_collector_keeps_the_same_sessions() -> None:
    """The example's list is every way for a session to end but the one that is thinned out."""
    config = (CHECKOUT / "deploy/otel-collector/collector.yaml").read_text()
    (listed,) = [line for line in config.splitlines() if "values: [" in line]
    words = listed.partition("[")[2].partition("]")[0].split(", ")
    assert {*ENDS} - {"accepted"} == set(words)
