"""What one session adds, and what a batch of them does."""

import pytest

from observability.arrivals.parsing import KILLED, SOCKET, Arrival, Event, parse
from observability.event import build
from observability.store import increments
from observability.store.families import Series
from observability.store.identities import Batch, Exemplar
from tests.support.sidecar import REJECTED, fields, hello_of

NOW = 1_800_000_000.0
_LATER = b"1700000020350000000"  # twenty seconds behind its credentials
_SESSION = {
    ("sessions", "rejected", "POP3"): 1,
    ("session_duration_seconds", "rejected", "POP3", "0.5"): 1,
    ("session_duration_seconds", "rejected", "POP3", "sum"): 0.4,
}
_RECORD = {
    ("auth_attempts", "rejected", "User", "POP3"): 1,
    ("auth_failures", "credentials", "User", "POP3"): 1,
    ("auth_rejected_duration_seconds", "POP3", "0.5"): 1,
    ("auth_rejected_duration_seconds", "POP3", "sum"): 0.3,
    ("subprogram_exits", "1"): 1,
}


def read(**changes: bytes) -> Event:
    """Return a refused session's event, with changes."""
    event = parse(build(fields({**REJECTED, "REASON": b"credentials", **changes})).rstrip(b"\0"))
    assert isinstance(event, Event)
    return event


def added(*events: Event, source: str = SOCKET) -> dict[Series, float]:
    """Return what a batch of them adds, except for the count of arrivals."""
    batch = Batch({}, NOW)
    batch.add([Arrival(source, event) for event in events])
    return {
        series: round(amount, 6)
        for series, amount in batch.increments().items()
        if series[0] != "telemetry_events"
    }


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({}, {}),
        (
            {"STATUS": b"77"},
            {("subprogram_exits", "1"): None, ("subprogram_exits", "other"): 1},
        ),
        (
            {"STATUS": b"", "SIGNAL": b"9"},
            {("subprogram_exits", "1"): None, ("subprogram_exits", "signal"): 1},
        ),
        ({"TLS": b"TLSv1.3"}, {("tls_sessions", "TLSv1.3"): 1}),
        ({"TLS": b"SSLv2"}, {("tls_sessions", "other"): 1}),
        (
            {"REASON": b"temporary"},
            {
                ("auth_failures", "credentials", "User", "POP3"): None,
                ("auth_failures", "temporary", "User", "POP3"): 1,
            },
        ),
        (
            {"T_EXITED": b"", "T_SPAWNED": b"", "T_CREDENTIALS": b""},
            {
                ("auth_rejected_duration_seconds", "POP3", "0.5"): None,
                ("auth_rejected_duration_seconds", "POP3", "sum"): None,
            },
        ),
    ],
)
def test_what_a_session_adds(changes: dict[str, bytes], changed: dict[Series, float | None]) -> None:
    """Each part of an event has its series, and no other series changes."""
    wanted = {**_SESSION, **_RECORD, **changed}
    assert {series: amount for series, amount in wanted.items() if amount} == added(read(**changes))


def test_many_of_some_kinds() -> None:
    """Counts and sums are those of all, as if each had been counted by itself."""
    events = [read(TRACE=b"%032x" % at, STATUS=(b"1", b"2", b"111")[at % 3]) for at in range(30)]
    each: dict[Series, float] = {}
    for event in events:
        kind, measures = increments.kind(event)
        for series, amount, _ in (*increments.of_session(kind), *increments.of_record(kind)):
            each[series] = each.get(series, 0) + measures[amount]
    assert added(*events) == {series: round(amount, 6) for series, amount in each.items()}
    assert (30, 10) == (each["sessions", "rejected", "POP3"], each["subprogram_exits", "2"])


def test_the_exemplar_is_the_latest() -> None:
    """Of all kinds that add to a series, and each series has its own."""
    slow = {"T_EXITED": _LATER, "T_ENDED": _LATER}
    one, two, three = (b"%032x" % at for at in (1, 2, 3))
    batch = Batch({}, NOW)
    batch.add(
        [
            Arrival(SOCKET, read(TRACE=one)),
            Arrival(SOCKET, read(TRACE=two, STATUS=b"2", **slow)),
            Arrival(SOCKET, read(TRACE=three)),
        ]
    )
    found = batch.exemplars()
    assert Exemplar(three.decode(), 1, NOW) == found["auth_attempts", "rejected", "User", "POP3"]
    assert three.decode() == found["auth_rejected_duration_seconds", "POP3", "0.5"].trace
    assert Exemplar(two.decode(), 20.3, NOW) == found["auth_rejected_duration_seconds", "POP3", "30.0"]


def test_a_hello_of_a_killed_session() -> None:
    """It counts as killed, and as nothing else."""
    hello = parse(hello_of(fields({})).rstrip(b"\0"))
    assert isinstance(hello, Event)
    assert {("sessions", "killed", "POP3"): 1} == added(hello, source=KILLED)


def test_a_kind_is_short() -> None:
    """Kinds are remembered, so no sender may choose how long they are."""
    words = [increments.kind(read(TLS=b"\xff" * length))[0][0] for length in (1, 3000)]
    assert words[0] == words[1]
