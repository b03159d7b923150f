"""The store: every session and every record counts once, under its own words."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from observability.arrivals.parsing import KILLED, SOCKET, SPOOL, Arrival, Malformed
from observability.store.database import Store
from observability.store.families import Series
from tests.support.sidecar import RECORD, REJECTED
from tests.support.stores import (
    ACCEPTED,
    DUPLICATE,
    SESSION,
    SESSION_KILLED,
    Time,
    event,
    hello_of,
    opened,
    values,
)


def test_a_new_store_has_every_series_at_zero(store: Store) -> None:
    """What can be counted is there before anything was."""
    assert {0} == set(store.committed.values.values())
    assert 0 == store.committed.last_event
    assert 9 == sum(series[0] == "auth_attempts" for series in store.committed.values)


def test_a_store_knows_its_birth(path: Path, time: Time) -> None:
    """Since when it counts does not change when it is opened again."""
    with opened(path, time.clocks()) as store:
        born = store.born
        assert time.now == born
    time.now += 86400
    with opened(path, time.clocks()) as store:
        assert born == store.born


def test_what_is_no_event_can_be_counted_too(path: Path, time: Time) -> None:
    """It is shown once it is committed, and stays."""
    with opened(path, time.clocks()) as store:
        store.count({("telemetry_pushes", "ok"): 1})
        store.count({("telemetry_pushes", "ok"): 2, ("telemetry_spans_dropped",): 5})
        assert {("telemetry_pushes", "ok"): 3, ("telemetry_spans_dropped",): 5} == values(store)
    with opened(path, time.clocks()) as store:
        assert {("telemetry_pushes", "ok"): 3, ("telemetry_spans_dropped",): 5} == values(store)


def test_a_series_that_is_new_begins_at_zero(store: Store) -> None:
    """What is counted under a word that is not there from the start is shown as it was counted."""
    store.count({("telemetry_pushes", "later"): 2})
    assert {("telemetry_pushes", "later"): 2} == values(store)


def test_an_accepted_session_counts_what_it_was(store: Store, time: Time) -> None:
    """One session, its record, its subprogram, its TLS version and its duration."""
    told = event({"TLS": b"TLSv1.3"})
    assert [told] == store.commit([Arrival(SOCKET, told)])
    expected = {
        SESSION: 1,
        ACCEPTED: 1,
        ("subprogram_exits", "0"): 1,
        ("tls_sessions", "TLSv1.3"): 1,
        ("session_duration_seconds", "accepted", "POP3", "0.5"): 1,
        ("session_duration_seconds", "accepted", "POP3", "sum"): 0.4,
        ("telemetry_events", "socket"): 1,
    }
    assert expected == values(store)
    assert time.now == store.committed.last_event


def test_a_refusal_counts_how_long_it_took(store: Store) -> None:
    """From the credentials to the subprogram's end, which is when the client was told."""
    store.commit([Arrival(SPOOL, event(REJECTED))])
    expected = {
        ("sessions", "rejected", "POP3"): 1,
        ("auth_attempts", "rejected", "User", "POP3"): 1,
        ("auth_failures", "credentials", "User", "POP3"): 1,
        ("auth_rejected_duration_seconds", "POP3", "0.5"): 1,
        ("auth_rejected_duration_seconds", "POP3", "sum"): 0.3,
        ("subprogram_exits", "1"): 1,
        ("session_duration_seconds", "rejected", "POP3", "0.5"): 1,
        ("session_duration_seconds", "rejected", "POP3", "sum"): 0.4,
        ("telemetry_events", "spool"): 1,
    }
    assert expected == pytest.approx(values(store))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"STATUS": b"2"}, ("subprogram_exits", "2")),
        ({"STATUS": b"111"}, ("subprogram_exits", "111")),
        ({"STATUS": b"100"}, ("subprogram_exits", "other")),
        ({"STATUS": None, "SIGNAL": b"11"}, ("subprogram_exits", "signal")),
        ({"STATUS": b"3", "RECORD": None}, ("subprogram_exits", "other")),
        ({"TLS": b"TLSv1"}, ("tls_sessions", "TLSv1")),
        ({"TLS": b"SSLv3 \xff"}, ("tls_sessions", "other")),
        (
            {"T_ENDED": b"1700000000100000000", "T_EXITED": None},
            ("session_duration_seconds", "accepted", "POP3", "0.1"),
        ),
        (
            {"T_ENDED": b"1700000000100000001", "T_EXITED": None},
            ("session_duration_seconds", "accepted", "POP3", "0.5"),
        ),
        ({"T_ENDED": b"1700001200000000001"}, ("session_duration_seconds", "accepted", "POP3", "+Inf")),
        ({"RECORD": RECORD.replace(b"POP3 ", b"POP3S ")}, ("auth_attempts", "accepted", "User", "POP3S")),
        (
            {"RECORD": RECORD.replace(b"Accept::AUTH::User", b"Reject::STLS::Any"), "ENDED": b"tls_required"},
            ("auth_attempts", "rejected", "Any", "POP3"),
        ),
    ],
)
def test_a_value_is_counted_under_its_word(
    store: Store, changes: dict[str, bytes | None], key: Series
) -> None:
    """Statuses, signals, versions and durations each have a series, and what is rare shares one."""
    store.commit([Arrival(SOCKET, event(changes))])
    assert 1 == store.committed.values[key]


@pytest.mark.parametrize("missing", ["TLS", "STATUS", "T_START", "T_ENDED"])
def test_what_is_not_known_is_not_counted(store: Store, missing: str) -> None:
    """An event without a value adds to the session's count anyway."""
    store.commit([Arrival(SOCKET, event({"T_EXITED": None, missing: None}))])
    assert 1 == store.committed.values[SESSION]


def test_what_comes_twice_counts_once(store: Store) -> None:
    """In one batch, in the next one, and by the other way."""
    told = event()
    assert [told] == store.commit([Arrival(SOCKET, told), Arrival(SOCKET, told)])
    assert [] == store.commit([Arrival(SPOOL, told)])
    assert (1, 1, 2) == tuple(store.committed.values[key] for key in (SESSION, ACCEPTED, DUPLICATE))
    assert 2 == store.committed.values[("telemetry_events", "socket")]
    assert 1 == store.committed.values[("telemetry_events", "spool")]


def test_what_was_counted_before_a_restart_counts_no_more(path: Path, time: Time) -> None:
    """Values and identities are both there when the next one opens the store."""
    told = event()
    with opened(path, time.clocks()) as store:
        store.commit([Arrival(SOCKET, told)])
    with opened(path, time.clocks()) as store:
        assert 1 == store.committed.values[SESSION]
        assert time.now == store.committed.last_event
        assert [] == store.commit([Arrival(SPOOL, told)])
        assert 1 == store.committed.values[SESSION]


def test_a_kill_leaves_what_was_committed(path: Path, tmp_path: Path, time: Time, store: Store) -> None:
    """The files as they are at any moment after a commit hold it, closed or not."""
    told = event()
    store.commit([Arrival(SOCKET, told)])
    left = tmp_path / "left"
    left.mkdir()
    for file in tmp_path.glob("state.sqlite*"):
        shutil.copy(file, left)
    with opened(left / path.name, time.clocks()) as found:
        assert values(store) == values(found)
        assert [] == found.commit([Arrival(SPOOL, told)])


def test_an_event_after_its_session_was_killed_adds_its_record(store: Store) -> None:
    """The connection went first, so the session counts as killed; the record is no less true."""
    told = event()
    hello = hello_of(told)
    assert [hello] == store.commit([Arrival(KILLED, hello)])
    assert {SESSION_KILLED: 1} == values(store)
    assert [told] == store.commit([Arrival(SPOOL, told)])
    assert (1, 0, 1) == tuple(store.committed.values[key] for key in (SESSION_KILLED, SESSION, ACCEPTED))
    assert 1 == store.committed.values[("subprogram_exits", "0")]
    assert 0 == store.committed.values[DUPLICATE]


def test_an_event_without_a_record_after_its_session_was_killed_adds_nothing(store: Store) -> None:
    """It arrived, and has nothing left to say."""
    told = event({"RECORD": None, "ENDED": b"quit", "STATUS": None})
    store.commit([Arrival(KILLED, hello_of(told)), Arrival(SPOOL, told)])
    expected = {SESSION_KILLED: 1, ("telemetry_events", "spool"): 1, DUPLICATE: 1}
    assert expected == values(store)


def test_a_connection_that_ends_after_its_event_counted_is_not_killed(store: Store) -> None:
    """Nor is it a duplicate of anything: it is no event."""
    told = event()
    store.commit([Arrival(SOCKET, told), Arrival(KILLED, hello_of(told))])
    assert 0 == store.committed.values[SESSION_KILLED]
    assert 0 == store.committed.values[DUPLICATE]


def test_what_is_malformed_is_counted_and_nothing_else(store: Store, time: Time) -> None:
    """It has no identity, and is no event that arrived."""
    store.commit([Arrival(SOCKET, Malformed("torn")), Arrival(SPOOL, Malformed("torn"))])
    assert {("telemetry_events_dropped", "malformed"): 2} == values(store)
    assert time.now != store.committed.last_event


def test_a_large_batch_knows_each_of_its_events(store: Store) -> None:
    """Identities are looked up in pieces, and the last piece is not full."""
    told = [event() for _ in range(150)]
    assert told == store.commit([Arrival(SOCKET, what) for what in told])
    fresh = event()
    assert [fresh] == store.commit([Arrival(SPOOL, what) for what in (*told, fresh)])
    assert (151, 150) == (store.committed.values[SESSION], store.committed.values[DUPLICATE])


def test_the_latest_session_is_the_exemplar_of_what_it_added(store: Store, time: Time) -> None:
    """Attempts and durations name the trace that was last seen there."""
    first, second = event(), event()
    store.commit([Arrival(SOCKET, first), Arrival(SOCKET, second)])
    trace = second.trace
    bucket = ("session_duration_seconds", "accepted", "POP3", "0.5")
    assert {ACCEPTED: (trace, 1, time.now), bucket: (trace, 0.4, time.now)} == store.committed.exemplars


def test_commits_that_failed_are_counted(path: Path, time: Time) -> None:
    """Shown at once, and in the store with the next commit, whatever that is of."""
    failed = ("telemetry_commits_failed",)
    with opened(path, time.clocks()) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for count in (1, 2, 3):
            with pytest.raises(sqlite3.OperationalError):
                store.count({("telemetry_pushes", "ok"): 1})
            assert {failed: count} == values(store)
        other.execute("ROLLBACK")
        store.count({("telemetry_pushes", "ok"): 1})
        assert {failed: 3, ("telemetry_pushes", "ok"): 1} == values(store)
    with opened(path, time.clocks()) as store:
        store.count({("telemetry_pushes", "ok"): 1})
        assert {failed: 3, ("telemetry_pushes", "ok"): 2} == values(store)
