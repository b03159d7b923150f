"""The spool's directory, and `lost` in it.

Owns that both are there: the directory for root and the popups' group, and `lost` with one byte in it from
the start, so that a file system which is full by then still takes the next ones. Nothing that lies there is
followed, and nothing but a regular file is read.
"""

import contextlib
import os
import stat
from pathlib import Path

from observability.arrivals.paths import Identity, Lost, identity, make_directory
from observability.errors import describe

MODE = 0o2770  # root and the popups' group, which all files in it belong to
_LOST_MODE = 0o660
_LOST_MARK = b"\n"  # the first byte of `lost` where it was made here: of a popup's, each stands for an event
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Directory:
    """One spool directory, which may be missing."""

    def __init__(self, path: Path) -> None:
        """Name it."""
        self._directory = path
        self._identity: Identity | None = None  # once it was seen
        self._group = -1

    def keep(self) -> Lost | None:
        """See that the directory is where it was, or there at all, with `lost` in it. OSError."""
        is_known = self._identity is not None
        try:
            # A new directory may have the number of the old one, but not what was in it.
            is_lost = (not self._make_lost()) or identity(self._directory) != self._identity
        except OSError as error:
            if not is_known:
                raise
            message = f"the spool {self._directory} was removed or replaced: {describe(error)}"
            return Lost(message, is_mended=False)
        self._identity = identity(self._directory)
        self._group = self._directory.stat().st_gid
        message = (
            f"the spool {self._directory} was removed or replaced, with its contents; a new one is in use"
        )
        return Lost(message, is_mended=True) if is_known and is_lost else None

    def lost_bytes(self) -> int | None:
        """Return how many events `lost` tells of: a byte for each that a popup could not leave here.

        None where it is not to be seen, which is not the same as nothing lost: it may come back.
        """
        with contextlib.suppress(OSError):
            fd = os.open(self._directory / "lost", _READ)
            try:
                status = os.fstat(fd)
                if stat.S_ISREG(status.st_mode):
                    return status.st_size - (os.pread(fd, 1, 0) == _LOST_MARK)
            finally:
                os.close(fd)
        return None

    def _make_lost(self) -> bool:
        """Make `lost`, and the directory, where they are missing; whether `lost` was there.

        One byte is in it from the start: a file system that is full by then still takes the next ones.
        """
        if not identity(self._directory):
            make_directory(self._directory, MODE)
            with contextlib.suppress(PermissionError):  # not one of our groups: the operator's doing
                os.chown(self._directory, -1, self._group)
        try:
            fd = os.open(self._directory / "lost", _NEW, _LOST_MODE)
        except FileExistsError:
            return True
        try:
            os.fchmod(fd, _LOST_MODE)  # whatever the umask
            os.write(fd, _LOST_MARK)
        finally:
            os.close(fd)
        return False
