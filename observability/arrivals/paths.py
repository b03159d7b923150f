"""Checks whether files and directories in use are still at their paths.

A removed or replaced file stays open here, and would be used on as if nothing had happened: the store would
count into an unlinked file, or a lock would exclude no other process.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from observability.errors import describe

Identity = tuple[int, int]


class Lost(NamedTuple):
    """Something found removed or replaced. message: for the log."""

    message: str
    is_mended: bool


Keep = Callable[[], Lost | None]
"""Checks that something is at its path, and restores it if possible. May raise OSError."""


class Watch:
    """Checks repeatedly whether everything is at its path."""

    def __init__(self, keeps: Mapping[str, Keep], report: Callable[[str, str, bool], None]) -> None:
        """Check each of `keeps`, by its label in telemetry_paths_lost.

        report: takes the label, what to log ("" if all is well), and whether that is a new loss
        """
        self._keeps, self._report = keeps, report
        self._known: dict[str, str] = {}

    def look(self) -> None:
        """Check everything once."""
        for label, keep in self._keeps.items():
            try:
                lost, error = keep(), ""
            except OSError as problem:
                lost, error = None, describe(problem)
            error = lost.message if lost else error
            is_news = lost is not None and error != self._known.get(label)
            if is_news or error != self._known.get(label, ""):
                self._report(label, error, is_news)
            self._known[label] = error


def identity(path: Path) -> Identity | None:
    """Return what identifies the file at `path`; None if there is none. OSError."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def is_at(path: Path, fd: int) -> bool:
    """Return whether an open descriptor is the file at `path`."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except OSError:
        return False


def make_directory(path: Path, mode: int) -> None:
    """Create a directory if missing; OSError."""
    if not path.exists():
        path.mkdir()
        path.chmod(mode)  # whatever the umask
