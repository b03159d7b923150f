"""Commits that failed, noted in FILE.failed beside the store, which cannot take that number itself.

A number that was shown must not go back, even where the process is killed before the store takes a commit
again. So the total is written down here first and shown after that. It is one line of fixed width, written
over the one before: a file system that is full takes that too. With its next commit the store counts what
waits, and notes up to which total it has counted.
"""

import os
from pathlib import Path

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Failures:
    """waiting: commits that failed and are not in the store; shown: how many of these are noted."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier process noted, or begin at 0."""
        self._path = path
        self.total = _read(path)  # as it stands in the file
        self.waiting = self.shown = 0

    def resume(self, counted: int) -> None:
        """Go on from the total up to which the store has counted."""
        self.waiting = self.shown = max(0, self.total - counted)
        self.total = max(self.total, counted)
        self._write(self.total)  # while the file system has room

    def add(self) -> int:
        """Note one more; return how many are to be shown now: none where it cannot be noted."""
        before = self.shown
        self.waiting += 1
        self._write(self.total + self.waiting - self.shown)
        return self.shown - before

    def counted(self) -> int:
        """Forget them, for the store has counted them; return how many were never shown."""
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
