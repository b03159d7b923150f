"""Checks that the store's files are at their paths; if one was removed, copies the store there again.

This includes SQLite's -wal and -shm: commits to an unlinked WAL are lost when the process exits. A file that
was truncated is restored, too, if SQLite has the rest in memory. SQLite itself would not notice, and only the
next start would find the store broken.
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
        """Check the files, and restore the store if one is missing or was truncated.

        UnusableError if it was replaced, or if a part that was truncated is not in memory either.
        """
        found = identity(self._path)
        if found not in (self._file, None):
            raise UnusableError(f"the store {self._path} was replaced by another file")
        missing = self._missing_beside() if found else self._path
        broken = missing or self._truncated()
        if not broken:
            return None
        what = (
            f"the store {self._path}" if broken == self._path else f"{broken.name} of the store {self._path}"
        )
        return self._restore(f"{what} was {'removed' if missing else 'truncated'}")

    def _restore(self, what: str) -> Lost:
        try:
            make_directory(self._path.parent, DIRECTORY_MODE)
            self._store.move(self._path)
        except (OSError, sqlite3.OperationalError) as error:
            return Lost(f"{what}: {describe(error)}", is_mended=False)
        except (sqlite3.Error, UnusableError) as error:
            raise UnusableError(f"{what}: {describe(error)}") from error
        self._look()
        return Lost(f"{what}, and has been written again", is_mended=True)

    def _look(self) -> None:
        """Note the identities of the store's files."""
        self._file = identity(self._path)
        self._beside = {file: identity(file) for file in schema.beside(self._path)}
        self._sizes: dict[Path, int] = {}

    def _missing_beside(self) -> Path | None:
        """Return the first of SQLite's other files that was removed or replaced; None if none was."""
        return next((file for file, known in self._beside.items() if known and identity(file) != known), None)

    def _truncated(self) -> Path | None:
        """Return the first file that became smaller, which SQLite alone never makes it; None if none did."""
        for file in (self._path, schema.beside(self._path)[0]):
            if (size := _size(file)) < self._sizes.get(file, 0):
                return file
            self._sizes[file] = size
        return None


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:
        return 0
