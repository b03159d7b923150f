"""Who holds the store: one store has one writer.

Owns the file STATE.lock and the flock(2) on it, which the kernel gives back however its holder dies. The
holder leaves its role and its process number in it, so that who comes second can say who was first (and a
sidecar can tell a pusher from another sidecar).
"""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from observability.errors import UnusableError

SIDECAR = "sidecar"
PUSHER = "pusher"
HAND_OVER_SECONDS = 5.0  # for a pusher that is asked to
_NOTE_MOST = 64  # bytes
_NOTE_SECONDS = 0.5
_LOOK_SECONDS = 0.02


@contextmanager
def claimed(state: Path, role: str, patience: float = HAND_OVER_SECONDS) -> Iterator[None]:
    """Hold the store at state for role; UnusableError, which names the holder, where somebody else does.

    The file stays behind: two could hold a lock on one name if it were taken away.
    """
    try:
        fd = os.open(f"{state}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UnusableError(f"cannot lock the store {state}: {error}") from error
    try:
        _lock(fd, state, role, time.monotonic() + patience)
        note = f"{role} {os.getpid()}\n".encode()
        os.pwrite(fd, note, 0)
        os.ftruncate(fd, len(note))
        yield
    finally:
        os.close(fd)


def _lock(fd: int, state: Path, role: str, deadline: float) -> None:
    """Take the lock; a sidecar asks a pusher for it, and again where another pusher was faster."""
    noted = min(deadline, time.monotonic() + _NOTE_SECONDS)
    while not _is_taken(fd):
        holder, pid = _noted(fd)
        if not _holds(pid, os.fstat(fd).st_ino) and time.monotonic() < noted:
            pass  # who has just taken it has not yet noted that
        elif role != SIDECAR or holder != PUSHER or time.monotonic() > deadline:
            raise UnusableError(f"the store {state} is held by another {holder or SIDECAR} ({pid or '?'})")
        else:
            _ask(pid, fd)
        time.sleep(_LOOK_SECONDS)


def _is_taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _noted(fd: int) -> tuple[str, str]:
    holder, _, pid = os.pread(fd, _NOTE_MOST, 0).decode(errors="replace").strip().partition(" ")
    return holder, pid


def _ask(pid: str, fd: int) -> None:
    """Ask a pusher to end; nobody, where the note is an old one and its process is something else by now."""
    try:
        process = os.pidfd_open(int(pid))
    except (ValueError, OSError):
        return
    try:
        if _holds(pid, os.fstat(fd).st_ino):
            signal.pidfd_send_signal(process, signal.SIGTERM)
    except OSError:  # gone meanwhile; or not ours to ask, and then the deadline will tell
        pass
    finally:
        os.close(process)


def _holds(pid: str, inode: int) -> bool:
    """Whether the kernel says that a process holds a flock(2) on a file; see proc_locks(5)."""
    locks = map(str.split, Path("/proc/locks").read_text().splitlines())
    return any("FLOCK" in lock and pid in lock and lock[-3].endswith(f":{inode}") for lock in locks)
