"""Reads a store's file without changing it or creating files next to it."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from observability.errors import UnusableError
from observability.store import history, schema
from observability.store.families import Series
from observability.store.history import Minute

_TIMEOUT = 5.0


class Held(NamedTuple):
    """A store's contents; times are seconds since 1970."""

    values: Mapping[Series, float]
    minutes: tuple[Minute, ...]
    last_event: float
    born: float | None


def read(path: Path) -> Held:
    """Return the contents of the store at `path`; UnusableError if it cannot be read."""
    try:
        with closing(sqlite3.connect(_uri(path), uri=True, timeout=_TIMEOUT)) as database:
            return _held(database, path)
    except sqlite3.Error as error:
        raise UnusableError(f"cannot read the store {path}: {error}") from error


def _uri(path: Path) -> str:
    """Return the URI to open; if no process uses the store, as immutable, so SQLite creates no files."""
    is_in_use = os.path.exists(f"{path}-wal")  # Path.exists() raises PermissionError
    return f"{path.absolute().as_uri()}?mode=ro{'' if is_in_use else '&immutable=1'}"


def _held(database: sqlite3.Connection, path: Path) -> Held:
    schema.check(database, path)
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
    marks = dict(database.execute("SELECT name, value FROM marks"))
    born = marks.get("born")
    return Held(
        values=schema.values(database) if "series" in tables else {},
        minutes=history.read(database) if "history" in tables else (),
        last_event=float(marks.get("last_event", 0)),
        born=None if born is None else float(born),
    )
