"""DIR/pusher.lock: whose turn it is to empty a spool.

Owns the lock that keeps pushers at one. The popup that starts a pusher has taken it already and hands it
over as descriptor 0: flock(2) belongs to the open file, so the pusher holds it from its first moment on. A
sidecar holds it too, so that popups which know of no sidecar start no pusher beside it.
"""

import contextlib
import fcntl
import os
from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODE = 0o660  # for popups of other users, whatever the umask


class Turn:
    """The lock of one spool directory. Its methods may raise OSError."""

    def __init__(self, spool: Path) -> None:
        """Name it; handed over or not, it has to be taken."""
        self._path = spool / "pusher.lock"
        self._fd: int | None = 0 if _is_at(self._path, 0) else None

    def taken(self) -> bool:
        """Take it, if nobody else has; whether it is ours."""
        if self._fd is None:
            self._fd = os.open(self._path, _FLAGS, _MODE)
            with contextlib.suppress(PermissionError):  # somebody else's, who has seen to it
                os.fchmod(self._fd, _MODE)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def keep(self) -> None:
        """Take it, if that can be; a sidecar's chore, which goes on without a spool."""
        with contextlib.suppress(OSError):
            self.taken()

    def give_up(self) -> None:
        """Let somebody else have it."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of it, and of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _is_at(path: Path, fd: int) -> bool:
    """Whether an open descriptor is the file of that name."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except OSError:
        return False
