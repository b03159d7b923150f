"""The file of the store: who reads it, what is left as it is, and who holds it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from observability.arrivals.parsing import SOCKET, Arrival
from observability.errors import UnusableError
from observability.store import schema
from observability.store.clocks import Clocks
from observability.store.database import Store
from observability.store.history import History
from tests.support.stores import (
    SESSION,
    Time,
    event,
    opened,
    values,
)

NEWER = schema.VERSION + 1


def damaged(path: Path, clocks: Clocks) -> bytes:
    """Make a store with something wrong in its midst; return what it holds."""
    with opened(path, clocks) as store:
        store.commit([Arrival(SOCKET, event()) for _ in range(500)])
    held = bytearray(path.read_bytes())
    held[len(held) // 2 : len(held) // 2 + 2048] = b"\xa5" * 2048
    path.write_bytes(held)
    return bytes(held)


def foreign(path: Path, statement: str) -> bytes:
    """Make an SQLite file that is not a store of this version; return what it holds."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(statement)
    return path.read_bytes()


def test_nobody_else_reads_the_state(path: Path, store: Store) -> None:
    """All files of the store are its owner's alone, whatever the umask."""
    store.commit([Arrival(SOCKET, event())])
    files = sorted(path.parent.glob("state.sqlite*"))
    assert 4 == len(files)
    assert {0o600} == {file.stat().st_mode & 0o777 for file in files}


def test_the_store_holds_no_name_and_no_address(path: Path, store: Store) -> None:
    """What a record says of a person is gone once it is counted."""
    store.commit([Arrival(SOCKET, event())])
    for file in path.parent.glob("state.sqlite*"):
        held = file.read_bytes()
        assert not any(word in held for word in (b"bob", b"192.0.2.7", b"client.example.org"))


def test_a_damaged_store_is_left_as_it_is(path: Path, time: Time) -> None:
    """One line says so, and nobody counts on it."""
    held = damaged(path, time.clocks())
    with pytest.raises(UnusableError, match=r"corrupt|malformed") as raised:
        schema.open_file(path, 0)
    assert 1 == len(str(raised.value).splitlines())
    assert held == path.read_bytes()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            f"PRAGMA application_id={schema.APPLICATION}; PRAGMA user_version={NEWER}; CREATE TABLE t (a)",
            "newer",
        ),
        ("CREATE TABLE t (a)", "not a qmail-popup store"),
    ],
)
def test_what_is_no_store_of_ours_is_left_as_it_is(path: Path, statement: str, said: str) -> None:
    """A newer version's, and another program's."""
    held = foreign(path, statement)
    with pytest.raises(UnusableError, match=said):
        schema.open_file(path, 0)
    assert held == path.read_bytes()


def test_a_newer_store_that_was_killed_is_left_as_it_is(path: Path, tmp_path: Path, time: Time) -> None:
    """What stands beside it, not yet written back, belongs to it."""
    source = tmp_path / "source.sqlite"
    with opened(source, time.clocks()) as store, closing(sqlite3.connect(source)) as newer:
        store.commit([Arrival(SOCKET, event())])
        newer.executescript(f"PRAGMA user_version={NEWER}")
        for suffix in ("", "-wal"):
            shutil.copy(f"{source}{suffix}", f"{path}{suffix}")
    held = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    with pytest.raises(UnusableError, match="newer"):
        schema.open_file(path, 0)
    assert held == (path.read_bytes(), Path(f"{path}-wal").read_bytes())


@pytest.mark.parametrize("held", [b"garbage" * 1000, b"xy", b"SQLite format 3\0" + b"\xff" * 100])
def test_garbage_is_left_as_it_is(path: Path, held: bytes) -> None:
    """A file that SQLite does not know is no store."""
    path.write_bytes(held)
    with pytest.raises(UnusableError, match=r"cannot use the store|not a qmail-popup store"):
        schema.open_file(path, 0)
    assert held == path.read_bytes()


def test_a_store_whose_making_was_cut_short_is_made(path: Path, time: Time) -> None:
    """An empty file, or one with nothing but SQLite's header, is no reason to give up."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size
    with opened(path, time.clocks()) as store:
        store.commit([Arrival(SOCKET, event())])
        assert 1 == store.committed.values[SESSION]


def test_a_path_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """A directory is no store, and a directory that is missing holds none."""
    for path in (tmp_path, tmp_path / "missing" / "state.sqlite"):
        with pytest.raises(UnusableError, match="cannot use the store"):
            schema.open_file(path, 0)


def test_a_store_that_is_set_aside_keeps_all_it_held(path: Path, time: Time) -> None:
    """Under its new name it is whole, and the old name is free."""
    with opened(path, time.clocks()) as store:
        store.commit([Arrival(SOCKET, event())])
        aside = schema.set_aside(path, "old")
    assert not list(path.parent.glob("state.sqlite-*"))
    with opened(aside, time.clocks()) as found, opened(path, time.clocks()) as begun:
        assert 1 == found.committed.values[SESSION]
        assert {} == values(begun)


VERSION_1 = """
    PRAGMA page_size = 1024;
    PRAGMA journal_mode = WAL;
    BEGIN IMMEDIATE;
    CREATE TABLE totals (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE marks (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE recent (identity BLOB PRIMARY KEY, facts INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE older (identity BLOB PRIMARY KEY, facts INTEGER NOT NULL) WITHOUT ROWID;
    PRAGMA application_id = 1903193968;
    PRAGMA user_version = 1;
    COMMIT;
    INSERT INTO totals VALUES ('auth_attempts accepted User POP3', 3), ('telemetry_spans_dropped', 2),
        ('session_duration_seconds accepted POP3 0.5', 3),
        ('session_duration_seconds accepted POP3 sum', 1.25);
    INSERT INTO marks VALUES ('born', 1600000000.0), ('boot', 'one boot'), ('hour_began', 900.0),
        ('last_event', 1650000000.5), ('lost_bytes', 7);
"""


def test_a_store_of_version_1_is_read(path: Path, time: Time) -> None:
    """Series, identities and marks are what they were, and stay so when it is opened once more."""
    told = event()
    with closing(sqlite3.connect(path)) as before:
        before.executescript(VERSION_1)
        before.execute("INSERT INTO recent VALUES (?, 3)", (told.identity,))
        before.commit()
    expected = {
        ("auth_attempts", "accepted", "User", "POP3"): 3,
        ("telemetry_spans_dropped",): 2,
        ("session_duration_seconds", "accepted", "POP3", "0.5"): 3,
        ("session_duration_seconds", "accepted", "POP3", "sum"): 1.25,
    }
    for _ in range(2):
        with opened(path, time.clocks()) as store:
            assert expected == values(store)
            assert (1_600_000_000.0, 1_650_000_000.5) == (store.born, store.committed.last_event)
            store.lost(7)
            assert expected == values(store)
    with opened(path, time.clocks()) as store:
        assert [] == store.commit([Arrival(SOCKET, told)])


def test_a_store_of_version_1_that_cannot_be_changed_is_left_as_it_is(path: Path) -> None:
    """Somebody who reads it holds up its change; the next start makes it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.executescript(VERSION_1)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnusableError, match="locked"):
            schema.open_file(path, 0)
        other.execute("ROLLBACK")
        assert (4,) == other.execute("SELECT count(*) FROM totals").fetchone()
    schema.open_file(path, 0).close()


def test_a_store_of_version_2_is_read(path: Path, time: Time) -> None:
    """Its totals are where its history begins."""
    with opened(path, time.clocks()) as store:
        store.commit([Arrival(SOCKET, event())])
    with closing(sqlite3.connect(path)) as before:
        before.executescript("DROP TABLE history; PRAGMA user_version = 2")
    with opened(path, time.clocks()) as store:
        assert 1 == store.committed.values[SESSION]
        history = History(store, lambda: time.now, lambda: None)
        history.tick()
        assert [{}] == [minute.sums for minute in history.minutes()]
