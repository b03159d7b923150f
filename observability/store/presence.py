"""Whether the store's files are those at its path; where one is not there, the store is put there again.

SQLite's own files beside it count too: what is committed to a log that has no name is gone with the process.
"""

import sqlite3
from pathlib import Path

from observability.arrivals.paths import Lost, identity, make_directory
from observability.errors import UnusableError, describe
from observability.store import schema
from observability.store.database import Store

DIRECTORY_MODE = 0o750


class Presence:
    """The file that a store has open."""

    def __init__(self, path: Path, store: Store) -> None:
        """Take what stands at path for the store's file."""
        self._path, self._store = path, store
        self._look()

    def keep(self) -> Lost | None:
        """See that it is at its path; UnusableError where something else is: that is left as it is."""
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
        """Take what is there for what the store has open."""
        self._file = identity(self._path)
        self._beside = {file: identity(file) for file in schema.beside(self._path)}

    def _missing_beside(self) -> Path | None:
        """Return the first of SQLite's files that is not the one that is open; None where all are."""
        return next((file for file, known in self._beside.items() if known and identity(file) != known), None)
