"""The store lock and the pusher lock.

They are STATE.lock and DIR/pusher.lock, and the kernel releases them however their holders die. The store's
is a record lock (fcntl(2)), because the kernel reports its holder: a sidecar locks one byte and a pusher two,
so a sidecar knows if it may ask the holder to hand over. The spool's is a flock(2), which belongs to the open
file: the popup that starts a pusher takes it and passes it on as descriptor 0. A sidecar holds it, too, so
that popups configured without a sidecar start no pusher.
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
HAND_OVER_SECONDS = 5.0  # allowed to a pusher
_LOOK_SECONDS = 0.02
_BYTES = {SIDECAR: 1, PUSHER: 2}
_FLOCK = struct.Struct("hhlli4x")  # struct flock: type, whence, start, length, pid
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOR_OWNER = 0o600
_FOR_POPUPS = 0o660  # which run as other users


class Holder(NamedTuple):
    """The process that holds a store's lock."""

    role: str
    pid: int  # 0 if in another pid namespace


def holder(state: Path) -> str:
    """Return the role of the store lock's holder, empty if free; creates and locks nothing."""
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
    """Return the holder of the record lock on an open file; None if it is free."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, length, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return None
    return Holder(PUSHER if length == _BYTES[PUSHER] else SIDECAR, max(0, pid))


class StoreLock:
    """The lock of one store, held until closed.

    The file is never removed, or two processes could hold locks on files of the same name.
    """

    def __init__(self, state: Path, role: str, timeout: float = HAND_OVER_SECONDS) -> None:
        """Take the lock; HeldError, which names the holder, if another process keeps it.

        timeout: seconds in which a pusher must hand over to a sidecar
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
        """Check that the lock is at its path, or take a new one; HeldError if another process has that.

        OSError if there cannot be one now: this lock is kept, because that may be over at the next check.
        """
        if is_at(self._path, self._fd):
            return None
        before, self._fd = self._fd, os.open(self._path, _FLAGS, _FOR_OWNER)
        os.close(before)
        self._take(0)
        return Lost(f"{self._path} was removed or replaced, and has been created again", is_mended=True)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._fd)

    def _opened(self) -> int:
        try:
            return os.open(self._path, _FLAGS, _FOR_OWNER)
        except OSError as error:
            raise UnusableError(f"cannot lock the store {self._state}: {describe(error)}") from error

    def _take(self, deadline: float) -> None:
        """Take the lock; a sidecar asks each pusher that holds it to hand over."""
        while not self._is_taken():
            holder = _holder(self._fd)
            if holder is None:  # just released
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
        """Ask a pusher to exit; the pidfd ensures that no other process with a reused pid is signalled."""
        with contextlib.suppress(OSError):  # it has exited or we lack permission: the deadline decides
            process = os.pidfd_open(holder.pid)
            try:
                if _holder(self._fd) == holder:
                    signal.pidfd_send_signal(process, signal.SIGTERM)
            finally:
                os.close(process)


class PusherLock:
    """The lock of one spool directory. Methods may raise OSError."""

    def __init__(self, spool: Path) -> None:
        """Find a lock passed on as descriptor 0; call take() in any case."""
        self._path = spool / "pusher.lock"
        self._fd: int | None = 0 if is_at(self._path, 0) else None
        self._is_held = False

    def take(self) -> bool:
        """Take the lock if it is free; return whether we hold it."""
        if self._is_held:
            return True
        if self._fd is None:
            self._fd = os.open(self._path, _FLAGS, _FOR_POPUPS)
            with contextlib.suppress(PermissionError):  # the owner has set the mode
                os.fchmod(self._fd, _FOR_POPUPS)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._is_held = True
        return True

    def keep(self) -> Lost | None:
        """Take the lock if it is free, and check that it is at its path."""
        is_lost = self._fd is not None and not is_at(self._path, self._fd)
        if is_lost:
            self.close()
        self.take()
        if not is_lost:
            return None
        return Lost(f"{self._path} was removed or replaced, and has been created again", is_mended=True)

    def release(self) -> None:
        """Release the lock, but keep the file open."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._is_held = False

    def close(self) -> None:
        """Release the lock and close the file."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._is_held = None, False
