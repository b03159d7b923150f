"""Who holds the store, and who empties the spool: one lock for each.

Owns STATE.lock and DIR/pusher.lock, which the kernel gives back however their holders die. The store's is a
record lock (fcntl(2)), of which the kernel tells whose it is: a sidecar locks one byte and a pusher two, so
that a sidecar knows whom it may ask to hand over. The spool's is flock(2), which belongs to the open file:
the popup that starts a pusher has taken it already and hands it over as descriptor 0, and a sidecar holds it
too, so that popups which know of no sidecar start no pusher beside it.
"""

import contextlib
import fcntl
import os
import signal
import struct
import time
from pathlib import Path
from typing import NamedTuple

from observability.arrivals.paths import Lost, is_at
from observability.errors import HeldError, UnusableError, describe

SIDECAR, PUSHER = "sidecar", "pusher"
HAND_OVER_SECONDS = 5.0  # for a pusher that is asked to
_LOOK_SECONDS = 0.02
_BYTES = {SIDECAR: 1, PUSHER: 2}
_FLOCK = struct.Struct("hhlli4x")  # struct flock: type, whence, start, length, pid
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOR_POPUPS = 0o660  # of other users, whatever the umask


class Holder(NamedTuple):
    """Who has a store's lock."""

    role: str
    pid: int  # 0 where it is not to be seen from here


def holder(state: Path) -> str:
    """Return the role of who has a store's lock, nothing where nobody has; nothing is made or taken."""
    try:
        fd = os.open(f"{state}.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        found = _holder(fd)
    finally:
        os.close(fd)
    return found.role if found else ""


def _holder(fd: int) -> Holder | None:
    """Return who has the lock of an open file, as the kernel knows; None where nobody has."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, length, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return None
    return Holder(PUSHER if length == _BYTES[PUSHER] else SIDECAR, max(0, pid))


class StoreLock:
    """The lock of one store, held until it is closed.

    The file stays behind: two could hold a lock on one name if it were taken away.
    """

    def __init__(self, state: Path, role: str, timeout: float = HAND_OVER_SECONDS) -> None:
        """Take it for role; UnusableError, which names the holder, where somebody else has it.

        timeout: seconds that a pusher has to hand over, where a sidecar asks it
        """
        self._state, self._role = state, role
        self._path = Path(f"{state}.lock")
        self._fd = self._opened()
        try:
            self._take(time.monotonic() + timeout)
        except BaseException:
            self.close()
            raise

    def keep(self) -> Lost | None:
        """See that it is the one at its path; UnusableError where somebody else has that one by now."""
        if is_at(self._path, self._fd):
            return None
        before, self._fd = self._fd, self._opened()
        os.close(before)
        self._take(0)
        return Lost(f"{self._path} was removed or replaced, and has been created again", is_mended=True)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def _opened(self) -> int:
        try:
            return os.open(self._path, _FLAGS, 0o600)
        except OSError as error:
            raise UnusableError(f"cannot lock the store {self._state}: {describe(error)}") from error

    def _take(self, deadline: float) -> None:
        """Take the lock; a sidecar asks a pusher for it, and again where another pusher was faster."""
        while not self._is_taken():
            holder = _holder(self._fd)
            if holder is None:  # it has just let go
                continue
            if self._role != SIDECAR or holder.role != PUSHER or time.monotonic() > deadline:
                pid = holder.pid or "?"
                raise HeldError(f"the store {self._state} is in use by another {holder.role} ({pid})")
            self._ask(holder)
            time.sleep(_LOOK_SECONDS)

    def _is_taken(self) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _BYTES[self._role])
        except (BlockingIOError, PermissionError):  # POSIX allows either
            return False
        return True

    def _ask(self, holder: Holder) -> None:
        """Ask a pusher to end; nobody else, should its process number be somebody else's by now."""
        with contextlib.suppress(OSError):  # it has ended, or is not ours to ask: the deadline will tell
            process = os.pidfd_open(holder.pid)
            try:
                if _holder(self._fd) == holder:
                    signal.pidfd_send_signal(process, signal.SIGTERM)
            finally:
                os.close(process)


class PusherLock:
    """The lock of one spool directory. Its methods may raise OSError."""

    def __init__(self, spool: Path) -> None:
        """Name it; handed over or not, it has to be taken."""
        self._path = spool / "pusher.lock"
        self._fd: int | None = 0 if is_at(self._path, 0) else None
        self._is_held = False

    def take(self) -> bool:
        """Take it, if nobody else has; whether it is ours."""
        if self._is_held:
            return True
        if self._fd is None:
            self._fd = os.open(self._path, _FLAGS, _FOR_POPUPS)
            with contextlib.suppress(PermissionError):  # somebody else's, who has seen to it
                os.fchmod(self._fd, _FOR_POPUPS)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._is_held = True
        return True

    def keep(self) -> Lost | None:
        """Take it if nobody else has, and see that it is the one at its path."""
        is_lost = self._fd is not None and not is_at(self._path, self._fd)
        if is_lost:
            self.close()
        self.take()
        if not is_lost:
            return None
        return Lost(f"{self._path} was removed or replaced, and has been created again", is_mended=True)

    def release(self) -> None:
        """Let somebody else have it."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._is_held = False

    def close(self) -> None:
        """Let go of it, and of the file."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._is_held = None, False
