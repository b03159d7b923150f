"""Files and directories in use: whether each is still what stands at its path.

What somebody removes or replaces stays open here, and would be served on as if nothing had happened: counted
into a file that nobody finds again, or locked by a lock that nobody else meets.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from observability.errors import describe

Identity = tuple[int, int]


class Lost(NamedTuple):
    """Something that was found removed or replaced; what it is, and what became of it, for the log."""

    message: str
    is_mended: bool


Keep = Callable[[], Lost | None]
"""Sees that something is in its place, and puts it there again where that can be. May raise OSError."""


class Watch:
    """Looks again and again whether everything is in its place."""

    def __init__(self, keeps: Mapping[str, Keep], report: Callable[[str, str, bool], None]) -> None:
        """Watch over each, by its label in telemetry_paths_lost.

        report: takes the label, what to log ("" where all is well), and whether that is one more loss
        """
        self._keeps, self._report = keeps, report
        self._known: dict[str, str] = {}

    def look(self) -> None:
        """Look once at everything."""
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
    """Return what tells the file at path from every other one; None where nothing is. OSError."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def is_at(path: Path, fd: int) -> bool:
    """Whether an open descriptor is the file of that name."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except OSError:
        return False


def make_directory(path: Path, mode: int) -> None:
    """Make a directory where nothing is; OSError."""
    if not path.exists():
        path.mkdir()
        path.chmod(mode)  # whatever the umask
