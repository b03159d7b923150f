"""The spool directory and its file `lost`, created and kept in place.

The directory belongs to root and the popups' group. `lost` has one byte from the start, so that popups can
append to it even when the file system is full. Symbolic links in the directory are not followed, and only
regular files are read.
"""

import contextlib
import os
import stat
from pathlib import Path

from observability.arrivals.paths import Identity, Lost, identity, make_directory
from observability.errors import describe

MODE = 0o2770  # root and the popups' group; setgid, so that files inherit the group
_LOST_MODE = 0o660
_LOST_MARK = b"\n"  # first byte of `lost` if created here; in one created by a popup every byte is an event
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Directory:
    """One spool directory, which may be missing."""

    def __init__(self, path: Path) -> None:
        """path: of the directory."""
        self._directory = path
        self._identity: Identity | None = None  # once it was found
        self._group = -1

    def keep(self) -> Lost | None:
        """Create directory and `lost` if missing; report one that was removed or replaced. OSError."""
        is_known = self._identity is not None
        try:
            # A new directory may reuse the inode number, but then `lost` is missing.
            is_lost = (not self._make_lost()) or identity(self._directory) != self._identity
        except OSError as error:
            if not is_known or self._is_there():
                raise  # for want of descriptors or permission, for instance: nothing is lost
            message = f"the spool {self._directory} was removed or replaced: {describe(error)}"
            return Lost(message, is_mended=False)
        self._identity = identity(self._directory)
        self._group = self._directory.stat().st_gid
        message = (
            f"the spool {self._directory} was removed or replaced, with its contents; a new one is in use"
        )
        return Lost(message, is_mended=True) if is_known and is_lost else None

    def lost_bytes(self) -> int | None:
        """Return how many events are lost: `lost` has a byte for each one that a popup could not spool.

        None if `lost` cannot be read, which does not mean 0: it may come back.
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

    def _is_there(self) -> bool:
        """Return whether the directory is still at its path; OSError if that cannot be known."""
        return identity(self._directory) == self._identity and os.path.isdir(self._directory)

    def _make_lost(self) -> bool:
        """Create the directory and `lost` if missing; return whether `lost` existed."""
        if not identity(self._directory):
            make_directory(self._directory, MODE)
            with contextlib.suppress(PermissionError):  # not one of our groups: the operator changed it
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
