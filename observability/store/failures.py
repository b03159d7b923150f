"""Counts failed commits in FILE.failed next to the store, because the store itself cannot be written then.

A counter must not go back, even if the process is killed before the next successful commit. So the total is
written here before it is shown. It is one line of fixed width that overwrites the previous one, which works
even on a full file system. The store's next commit adds the waiting failures, and saves the total counted.
"""

import os
from pathlib import Path

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Failures:
    """waiting: failed commits not yet in the store; shown: how many of these are in the file."""

    def __init__(self, path: Path) -> None:
        """Read the total of an earlier process, or begin at 0."""
        self._path = path
        self.total = _read(path)  # as in the file
        self.waiting = self.shown = 0

    def resume(self, counted: int) -> None:
        """Continue from the total that the store has counted."""
        self.waiting = self.shown = max(0, self.total - counted)
        self.total = max(self.total, counted)
        self._write(self.total)  # while the file system has room

    def add(self) -> int:
        """Add a failure; return how many to show now, 0 if the file cannot be written."""
        before = self.shown
        self.waiting += 1
        self._write(self.total + self.waiting - self.shown)
        return self.shown - before

    def counted(self) -> int:
        """Reset after the store has counted the failures; return how many had not been shown."""
        late = self.waiting - self.shown
        self.waiting = self.shown = 0
        return late

    def _write(self, total: int) -> None:
        try:
            fd = os.open(self._path, _WRITE, 0o600)
            try:
                os.pwrite(fd, b"%020d\n" % total, 0)
            finally:
                os.close(fd)
        except OSError:
            return
        self.total, self.shown = total, self.waiting


def _read(path: Path) -> int:
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return 0
