"""Checks that the store's files are at their paths; if one was removed, copies the store there again.

This includes SQLite's -wal and -shm: commits to an unlinked WAL are lost when the process exits.
"""

import sqlite3
from pathlib import Path

from observability.arrivals.paths import Lost, identity, make_directory
from observability.errors import UnusableError, describe
from observability.store import schema
from observability.store.database import Store

DIRECTORY_MODE = 0o750


class Presence:
    """Watches the files of an open store."""

    def __init__(self, path: Path, store: Store) -> None:
        """Note the files now at `path` as those of the store."""
        self._path, self._store = path, store
        self._look()

    def keep(self) -> Lost | None:
        """Check the files, and restore the store if one is missing; UnusableError if it was replaced."""
        found = identity(self._path)
        if found not in (self._file, None):
            raise UnusableError(f"the store {self._path} was replaced by another file")
        beside = self._missing_beside()
        if found and not beside:
            return None
        what = f"{beside.name} of the store {self._path}" if found and beside else f"the store {self._path}"
        try:
            make_directory(self._path.parent, DIRECTORY_MODE)
            self._store.move(self._path)
        except (OSError, sqlite3.Error) as error:
            return Lost(f"{what} was removed: {describe(error)}", is_mended=False)
        self._look()
        return Lost(f"{what} was removed, and has been written again", is_mended=True)

    def _look(self) -> None:
        """Note the identities of the store's files."""
        self._file = identity(self._path)
        self._beside = {file: identity(file) for file in schema.beside(self._path)}

    def _missing_beside(self) -> Path | None:
        """Return the first of SQLite's other files that was removed or replaced; None if none was."""
        return next((file for file, known in self._beside.items() if known and identity(file) != known), None)
