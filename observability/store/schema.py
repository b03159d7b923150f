"""The store's file: creating, checking, migrating and renaming it.

A file that is corrupt, newer than this program or not ours is only read, never changed, so that the operator
can inspect it.
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
    # Identities are random, so each one dirties a different page: small pages write a quarter as much.
    "PRAGMA page_size = 1024",
    "PRAGMA journal_mode = WAL",
    # Commits survive any crash of the process; for crashes of the machine the store syncs every second, and
    # checkpoints at the same time.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 0",
    # Only random numbers are deleted, which need not be overwritten.
    "PRAGMA secure_delete = OFF",
)
# Suffixes of the store's file and of SQLite's other files.
_COMPANIONS = ("", "-wal", "-shm", "-journal")


def open_file(path: Path, timeout: float) -> sqlite3.Connection:
    """Open the store at `path`, or create one; UnusableError, and the file untouched, if unusable.

    timeout: seconds to wait, now and later, for another process's lock on the file.
    """
    try:
        # SQLite gives its other files the same mode.
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
    """Create or migrate the tables. version: of the file, 0 if empty."""
    for setting in _SETTINGS:
        database.execute(setting).fetchall()
    if not version:
        database.executescript(_TABLES)
    elif version < VERSION:
        _migrate(database, version)


def set_aside(path: Path, suffix: str) -> Path:
    """Rename the store at `path`, even a broken one; return its new name."""
    aside = path.with_name(f"{path.name}.{suffix}")
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(aside.with_name(aside.name + companion))
    return aside


def beside(path: Path) -> list[Path]:
    """Return the files that SQLite has open next to the store, from its first transaction on."""
    return [path.with_name(path.name + companion) for companion in ("-wal", "-shm")]


def put(file: Path, path: Path) -> None:
    """Rename a complete store to `path`, where at most an older file of the same store is."""
    for companion in _COMPANIONS[1:]:
        path.with_name(path.name + companion).unlink(missing_ok=True)
    file.rename(path)


@cache
def row(series: Series) -> tuple[str, str]:
    """Return a series as in the file: family and labels."""
    return series[0], json.dumps(series[1:])


def values(database: sqlite3.Connection) -> dict[Series, float]:
    """Return the value of each series in the file."""
    rows = database.execute("SELECT family, labels, value FROM series")
    return {(family, *json.loads(labels)): value for family, labels, value in rows}


def _migrate(database: sqlite3.Connection, version: int) -> None:
    """Migrate an older version to the current one, or change nothing."""
    database.execute("BEGIN IMMEDIATE")
    for step in _STEPS[version - 1 :]:
        step(database)
    database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")


def _split_series(database: sqlite3.Connection) -> None:
    """Migrate version 1, in which a series was one string with spaces, to version 2."""
    database.execute(_SERIES)
    rows = database.execute("SELECT key, value FROM totals").fetchall()
    database.executemany(
        "INSERT INTO series VALUES (?, ?, ?)", [(*row(tuple(key.split(" "))), value) for key, value in rows]
    )
    database.execute("DROP TABLE totals")


def _add_history(database: sqlite3.Connection) -> None:
    """Migrate version 2, which had no history, to version 3."""
    database.execute(_HISTORY)


_STEPS = (_split_series, _add_history)  # the first migrates version 1


def check(database: sqlite3.Connection, path: Path) -> int:
    """Return the store's version; 0 without tables (also if its creation was interrupted).

    UnusableError if it cannot be used.
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
    """Check the whole file (0.13 s for a million identities), so as never to count into a corrupt one."""
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise UnusableError(f"the store {path} is corrupt: {' '.join(verdict.split())}")
