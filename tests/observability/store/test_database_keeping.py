"""The store over time: failures, restarts of the machine, and what it may forget."""

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from observability.arrivals.parsing import KILLED, SOCKET, SPOOL, Arrival, Event
from observability.store import schema
from observability.store.database import Store
from tests.support.stores import (
    ACCEPTED,
    SESSION,
    Time,
    event,
    hello_of,
    opened,
    values,
)

HOUR = 3600.0
COMMITS_FAILED = ("telemetry_commits_failed",)


def seen(store: Store, told: Event) -> bool:
    """Whether an event that was counted is still known, told by sending it again (which makes it known)."""
    return [] == store.commit([Arrival(SPOOL, told)])


def test_a_locked_store_takes_nothing_and_then_everything(path: Path, store: Store) -> None:
    """While somebody else holds it nothing is counted, and nothing is shown that may not be so."""
    told = event()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError):
                store.commit([Arrival(SOCKET, told)])
        assert {COMMITS_FAILED: 2} == values(store)
        other.execute("ROLLBACK")
    assert [told] == store.commit([Arrival(SOCKET, told)])
    assert 1 == store.committed.values[SESSION]


def test_a_full_disk_takes_nothing_and_then_everything(path: Path, time: Time) -> None:
    """A transaction that breaks in its midst leaves neither totals nor identities behind."""
    database = schema.open_file(path, 0)
    with closing(Store(database, time.clocks())) as store:
        told = [event() for _ in range(300)]
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
        with pytest.raises(sqlite3.OperationalError, match="full"):
            store.commit([Arrival(SOCKET, what) for what in told])
        assert {COMMITS_FAILED: 1} == values(store)
        database.execute("PRAGMA max_page_count = 100000").fetchall()
        assert told == store.commit([Arrival(SOCKET, what) for what in told])
        assert 300 == store.committed.values[SESSION]


def test_totals_after_a_failure_are_what_the_file_holds(path: Path, store: Store) -> None:
    """A commit that failed may have happened: the file is asked before anything is added."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO series VALUES (?, ?, 5)", schema.row(SESSION))
        with pytest.raises(sqlite3.OperationalError):
            store.commit([Arrival(SOCKET, event())])
        other.execute("COMMIT")
    store.commit([Arrival(SOCKET, event())])
    assert 6 == store.committed.values[SESSION]


def test_failures_that_were_shown_outlast_a_kill(path: Path, store: Store, time: Time) -> None:
    """They are counted once with the next commit, by whoever makes it; a store that begins has none."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError):
                store.commit([Arrival(SOCKET, event())])
        assert 3 == store.committed.values[COMMITS_FAILED]
        other.execute("ROLLBACK")
    for _ in range(2):
        with opened(path, time.clocks()) as after:  # the first one is as good as killed
            assert 3 == after.committed.values[COMMITS_FAILED]
            after.commit([Arrival(SOCKET, event())])
            assert 3 == after.committed.values[COMMITS_FAILED]
    schema.set_aside(path, "before")
    with opened(path, time.clocks()) as new:
        assert 0 == new.committed.values[COMMITS_FAILED]


def test_a_failure_that_cannot_be_noted_is_shown_once_it_is_stored(path: Path, store: Store) -> None:
    """Or a kill would take it back."""
    noted = path.with_name(f"{path.name}.failed")
    noted.unlink()
    noted.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError):
            store.commit([Arrival(SOCKET, event())])
        assert 0 == store.committed.values[COMMITS_FAILED]
        other.execute("ROLLBACK")
    store.commit([Arrival(SOCKET, event())])
    assert 1 == store.committed.values[COMMITS_FAILED]


def test_totals_of_one_moment_stay_as_they_were(store: Store) -> None:
    """Who reads them in another thread never sees half a batch."""
    before = store.committed
    store.commit([Arrival(SOCKET, event())])
    assert 0 == before.values[SESSION]


def test_the_clock_set_back_changes_no_count(store: Store, time: Time) -> None:
    """The day's time is only ever shown."""
    store.commit([Arrival(SOCKET, event())])
    time.now -= 86400
    store.commit([Arrival(SOCKET, event({"T_ENDED": None, "T_EXITED": None}))])
    assert 2 == store.committed.values[SESSION]
    assert time.now == store.committed.last_event


def test_an_identity_is_kept_until_a_drain_that_began_an_hour_later(store: Store, time: Time) -> None:
    """Two changes of tables are needed: no change is made by a drain that began within the hour."""
    told = event()
    store.commit([Arrival(SOCKET, told)])
    began = time.monotonic
    store.drained(began + HOUR - 1)
    time.monotonic += HOUR
    store.drained(began + HOUR)
    store.drained(time.monotonic + HOUR - 1)
    assert seen(store, told)


@pytest.mark.parametrize("hours", [1, 30])
def test_an_identity_is_forgotten_in_the_end(store: Store, time: Time, hours: int) -> None:
    """So the store does not grow without bound."""
    told = event()
    store.commit([Arrival(SOCKET, told)])
    for _ in range(2):
        time.monotonic += hours * HOUR
        store.drained(time.monotonic)
    assert not seen(store, told)


def test_without_a_drain_nothing_is_forgotten(store: Store, time: Time) -> None:
    """Whatever the time, what is in the spool may hold an event that was counted."""
    told = event()
    store.commit([Arrival(SOCKET, told)])
    time.monotonic += 100 * HOUR
    assert seen(store, told)


def test_a_record_that_came_late_is_known_with_its_session(store: Store, time: Time) -> None:
    """Where one fact is in the older table and both are in the newer, the newer counts."""
    told = event()
    store.commit([Arrival(KILLED, hello_of(told))])
    time.monotonic += HOUR
    store.drained(time.monotonic)
    store.commit([Arrival(SPOOL, told)])
    assert seen(store, told)
    assert 1 == store.committed.values[ACCEPTED]


@pytest.mark.parametrize(("boot", "known"), [("one boot", False), ("another boot", True), ("", True)])
def test_after_a_reboot_the_hour_begins_anew(path: Path, time: Time, boot: str, known: bool) -> None:  # noqa: FBT001
    """The monotonic clock starts again with the machine, so all counts as committed just now."""
    told = event()
    with opened(path, time.clocks(boot and "one boot")) as store:
        store.commit([Arrival(SOCKET, told)])
        time.monotonic += HOUR
        store.drained(time.monotonic)
    time.monotonic += HOUR
    with opened(path, time.clocks(boot)) as store:
        store.drained(time.monotonic)
        assert known == seen(store, told)


def test_lost_events_count_by_what_the_file_has_grown(path: Path, time: Time) -> None:
    """It is never truncated, so the last size is kept; a smaller file is a new one."""
    lost = ("telemetry_events_dropped", "spool_full")
    with opened(path, time.clocks()) as store:
        for size, counted in ((3000, 3000), (3000, 3000), (5000, 5000)):
            store.lost(size)
            assert counted == store.committed.values[lost]
    with opened(path, time.clocks()) as store:
        store.lost(5000)
        assert 5000 == store.committed.values[lost]
        store.lost(2000)
        assert 7000 == store.committed.values[lost]


def test_a_sync_brings_everything_into_the_one_file(
    path: Path, tmp_path: Path, time: Time, store: Store
) -> None:
    """What SQLite keeps beside it is not needed after that, unless there is more by then."""
    store.commit([Arrival(SOCKET, event())])
    store.sync()
    store.sync()
    alone = tmp_path / "alone.sqlite"
    shutil.copy(path, alone)
    with opened(alone, time.clocks()) as found:
        assert values(store) == values(found)


def test_what_is_known_is_neither_read_nor_synced_again(path: Path, time: Time) -> None:
    """Only a failure makes it ask for the totals, and only a commit leaves something to sync."""
    database = schema.open_file(path, 0)
    asked: list[str] = []
    with closing(Store(database, time.clocks())) as store:
        database.set_trace_callback(asked.append)
        for _ in range(2):
            store.commit([Arrival(SOCKET, event())])
        assert not any("FROM series" in statement for statement in asked)
        store.sync()
        asked.clear()
        store.sync()
        assert [] == asked


def test_it_syncs_also_while_somebody_reads(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader keeps SQLite from writing back, and so from syncing: a power cut would take all since."""
    synced: list[str] = []

    def sync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr(os, "fdatasync", sync)
    store.commit([Arrival(SOCKET, event())])
    store.sync()
    assert [] == synced  # SQLite does it by itself
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM series").fetchall()
        for _ in range(2):
            store.commit([Arrival(SOCKET, event())])
            store.sync()
        store.sync()
        assert [f"{path}-wal"] * 2 == synced


def test_a_sync_that_fails_is_tried_again(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as every other trouble of the store."""

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "no")

    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM series").fetchall()
        store.commit([Arrival(SOCKET, event())])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            for _ in range(2):
                with pytest.raises(sqlite3.OperationalError):
                    store.sync()
        store.sync()
