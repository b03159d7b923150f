"""The store's file: its tables, whether it can be used, and moving it aside.

Owns what stands in the file before anything is counted. A file that is corrupt, newer than this program or
not ours is only ever read, so that whoever comes to look finds what was there.
"""

import os
import sqlite3
from pathlib import Path

from observability.errors import UnusableError

VERSION = 1
APPLICATION = 0x71706F70  # "qpop", in the file's header

IDENTITIES = "(identity BLOB PRIMARY KEY, facts INTEGER NOT NULL) WITHOUT ROWID"
_TABLES = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE totals (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
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


def open_file(path: Path, patience: float) -> sqlite3.Connection:
    """Open the store at path, or make one; UnusableError, and untouched, where that cannot be.

    patience: seconds to wait, now and later, for somebody who has locked the file.
    """
    try:
        # SQLite gives its other files the mode of the first.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        blank = _is_blank(path, patience)
        database = sqlite3.connect(path, timeout=patience, isolation_level=None)
        for setting in _SETTINGS:
            database.execute(setting).fetchall()
        if blank:
            database.executescript(_TABLES)
    except (sqlite3.Error, OSError) as error:
        raise UnusableError(f"cannot use the store {path}: {error}") from error
    return database


def set_aside(path: Path, suffix: str) -> Path:
    """Rename the store at path, whatever its state; return its new name."""
    aside = path.with_name(f"{path.name}.{suffix}")
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(aside.with_name(aside.name + companion))
    return aside


def _is_blank(path: Path, patience: float) -> bool:
    """Read what the file is; True for one without tables (a store whose making was cut short, too)."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=patience)
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not version and not tables:
            return True
        if application != APPLICATION:
            raise UnusableError(f"{path} is not a store of this program")
        if version > VERSION:
            raise UnusableError(
                f"the store {path} is of version {version}, newer than this program's {VERSION}"
            )
        _check(database, path)
    finally:
        database.close()
    return False


def _check(database: sqlite3.Connection, path: Path) -> None:
    """Read the whole file (0.13 s for a million identities): never count on a broken one."""
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise UnusableError(f"the store {path} is corrupt: {' '.join(verdict.split())}")
