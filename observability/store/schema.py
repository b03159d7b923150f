"""The store's file: its tables, whether it can be used, and moving it aside.

Owns what stands in the file before anything is counted. A file that is corrupt, newer than this program or
not ours is only ever read, so that whoever comes to look finds what was there.
"""

import contextlib
import json
import os
import sqlite3
from functools import cache
from pathlib import Path

from observability.errors import UnusableError, reason
from observability.store.families import Series

VERSION = 3
APPLICATION = 0x71706F70  # "qpop", in the file's header

IDENTITIES = "(identity BLOB PRIMARY KEY, facts INTEGER NOT NULL) WITHOUT ROWID"
_SERIES = """
    CREATE TABLE series (
        family TEXT NOT NULL,
        labels TEXT NOT NULL, -- their values, in the family's order, as a JSON array
        value NOT NULL,
        PRIMARY KEY (family, labels)
    ) WITHOUT ROWID
"""
_HISTORY = """
    CREATE TABLE history (
        minute INTEGER PRIMARY KEY, -- that has ended, since 1970
        peak INTEGER, -- most sessions at a time, where that was known
        totals TEXT NOT NULL -- by then: a JSON array of arrays, family, label values and total
    )
"""
_TABLES = f"""
    BEGIN IMMEDIATE;
    {_SERIES};
    {_HISTORY};
    CREATE TABLE marks (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE recent {IDENTITIES};
    CREATE TABLE older {IDENTITIES};
    PRAGMA application_id = {APPLICATION};
    PRAGMA user_version = {VERSION};
    COMMIT;
"""
_SETTINGS = (
    # An identity lies anywhere in its table, so each dirties a page of its own: small ones write a quarter.
    "PRAGMA page_size = 1024",
    "PRAGMA journal_mode = WAL",
    # Whatever a process does, committed is committed; for the machine's sake the store syncs every second,
    # and writes back in the same go.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 0",
    # What is deleted are random numbers: nothing that would have to be wiped.
    "PRAGMA secure_delete = OFF",
)
# SQLite's own files beside the one that is named.
_COMPANIONS = ("", "-wal", "-shm", "-journal")


def open_file(path: Path, timeout: float) -> sqlite3.Connection:
    """Open the store at path, or make one; UnusableError, and untouched, where that cannot be.

    timeout: seconds to wait, now and later, for somebody who has locked the file.
    """
    try:
        # SQLite gives its other files the mode of the first.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        version = _version(path, timeout)
        database = sqlite3.connect(path, timeout=timeout, isolation_level=None)
        with contextlib.ExitStack() as stack:
            stack.callback(database.close)
            _prepare(database, version)
            stack.pop_all()
    except (sqlite3.Error, OSError) as error:
        raise UnusableError(f"cannot use the store {path}: {reason(error)}") from error
    return database


def _prepare(database: sqlite3.Connection, version: int) -> None:
    """Bring it to today's version; version: what it has, 0 for nothing."""
    for setting in _SETTINGS:
        database.execute(setting).fetchall()
    if not version:
        database.executescript(_TABLES)
    elif version < VERSION:
        _migrate(database, version)


def set_aside(path: Path, suffix: str) -> Path:
    """Rename the store at path, whatever its state; return its new name."""
    aside = path.with_name(f"{path.name}.{suffix}")
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(aside.with_name(aside.name + companion))
    return aside


def beside(path: Path) -> list[Path]:
    """Return what SQLite keeps open beside the store at path, from its first transaction on."""
    return [path.with_name(path.name + companion) for companion in ("-wal", "-shm")]


def put(file: Path, path: Path) -> None:
    """Rename a whole store to path, where nothing is but an older file of the same store."""
    for companion in _COMPANIONS[1:]:
        path.with_name(path.name + companion).unlink(missing_ok=True)
    file.rename(path)


@cache
def row(series: Series) -> tuple[str, str]:
    """Return a series as it stands in the file: its family, and its labels."""
    return series[0], json.dumps(series[1:])


def values(database: sqlite3.Connection) -> dict[Series, float]:
    """Return what the file holds of each series."""
    rows = database.execute("SELECT family, labels, value FROM series")
    return {(family, *json.loads(labels)): value for family, labels, value in rows}


def _migrate(database: sqlite3.Connection, version: int) -> None:
    """Make what this program writes of an older version, or change nothing."""
    database.execute("BEGIN IMMEDIATE")
    for step in _STEPS[version - 1 :]:
        step(database)
    database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")


def _split_series(database: sqlite3.Connection) -> None:
    """Make version 2 of version 1, in which a series was one word with spaces."""
    database.execute(_SERIES)
    rows = database.execute("SELECT key, value FROM totals").fetchall()
    database.executemany(
        "INSERT INTO series VALUES (?, ?, ?)", [(*row(tuple(key.split(" "))), value) for key, value in rows]
    )
    database.execute("DROP TABLE totals")


def _add_history(database: sqlite3.Connection) -> None:
    """Make version 3 of version 2, in which there was none."""
    database.execute(_HISTORY)


_STEPS = (_split_series, _add_history)  # from the version that is their place in this row


def check(database: sqlite3.Connection, path: Path) -> int:
    """Return the version of what is open; 0 without tables (a store whose making was cut short, too).

    UnusableError for what cannot be used.
    """
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not version and not tables:
        return 0
    if application != APPLICATION:
        raise UnusableError(f"{path} is not a qmail-popup store")
    if version > VERSION:
        raise UnusableError(f"the store {path} has version {version}, newer than this program's {VERSION}")
    _check(database, path)
    return version


def _version(path: Path, timeout: float) -> int:
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout)
    try:
        return check(database, path)
    finally:
        database.close()


def _check(database: sqlite3.Connection, path: Path) -> None:
    """Read the whole file (0.13 s for a million identities): never count on a broken one."""
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise UnusableError(f"the store {path} is corrupt: {' '.join(verdict.split())}")
