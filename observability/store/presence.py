"""Whether the store's file is the one at its path; where nothing is there, it is put there again."""

import sqlite3
from pathlib import Path

from observability.arrivals.paths import Lost, identity, make_directory
from observability.errors import UnusableError, describe
from observability.store.database import Store

DIRECTORY_MODE = 0o750


class Presence:
    """The file that a store has open."""

    def __init__(self, path: Path, store: Store) -> None:
        """Take what stands at path for the store's file."""
        self._path, self._store = path, store
        self._file = identity(path)

    def keep(self) -> Lost | None:
        """See that it is at its path; UnusableError where something else is: that is left as it is."""
        found = identity(self._path)
        if found == self._file:
            return None
        if found is not None:
            raise UnusableError(f"something else stands where the store {self._path} was")
        try:
            make_directory(self._path.parent, DIRECTORY_MODE)
            self._store.move(self._path)
        except (OSError, sqlite3.Error) as error:
            return Lost(f"the store {self._path} was removed: {describe(error)}", is_mended=False)
        self._file = identity(self._path)
        return Lost(f"the store {self._path} had been removed; it was copied there again", is_mended=True)
