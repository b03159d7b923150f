"""The spool on the popup's side: a file to which each event is appended in one write.

Owns how that file is opened, locked and bounded. The sidecar or pusher that drains it (arrivals/spool.py)
often renames it. The popup often runs as root and the sidecar does not, so the directory's mode decides who
may write. A link, a FIFO or a held lock cannot harm root's popup: the worst case is OSError or a lost event,
counted in `lost` if even that can be written.
"""

import posix
import time

from observability.event import SEPARATOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from posix import DirEntry

MAX_SPOOL = 64 * 1024 * 1024  # bytes, including files taken over but not yet drained
_MAX_ENTRIES = 1000
_TRIES = 8  # a lock is held only for one write, or one rename
_PAUSE_SECONDS = 0.003
_INTERVAL_SECONDS = 15  # a pusher's interval: an error this recent still applies
_MAX_ERROR = 512  # bytes
_MODE = 0o660
_APPEND = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT
_CAREFULLY = posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_REGULAR = 0o100000  # S_IFREG; importing stat would cost time
_TYPE = 0o170000


def leave(directory: bytes, block: bytes) -> None:
    """Append an event to the spool, or else a byte to `lost`; OSError if neither is possible."""
    try:
        if _appended(directory, SEPARATOR + block):
            return
    except OSError:
        pass
    count_lost(directory, 1)


def count_lost(directory: bytes, number: int) -> int:
    """Append a byte to `lost` for each of `number` lost events; return how many it took; OSError."""
    fd = _open(directory + b"/lost")
    try:
        return posix.write(fd, b"." * number)
    finally:
        posix.close(fd)


def _appended(directory: bytes, data: bytes) -> bool:
    """Write `data` to the spool in one write; False if there is no room or the lock is not available.

    The reader renames the file before it locks it, so the lock counts only if the file is still the one in
    the directory. Neither side blocks for a lock.
    """
    for _ in range(_TRIES):
        fd = _open(directory + b"/spool")
        try:
            if _locked(fd) and _is_there(fd, directory + b"/spool"):
                return _has_room(directory, len(data)) and _left(posix.write(fd, data))
        finally:
            posix.close(fd)
        time.sleep(_PAUSE_SECONDS)
    return False


def _left(written: int) -> bool:
    """Whether this popup need not count a loss: the reader counts even a torn event."""
    return written > len(SEPARATOR)


def lock_pushers(directory: bytes, stderr: int | None = None) -> int | None:
    """Return a descriptor that holds the pusher lock, or None; OSError.

    None if a pusher holds it, or if the last one failed less than an interval ago. The popup that gets the
    lock writes the last pusher's error, if any, to stderr: one popup per interval.
    """
    lock, error = _open(directory + b"/pusher.lock"), directory + b"/pusher.error"
    is_free = False
    try:
        is_free = _locked(lock, alone=True) and not _has_failed(error)
    finally:
        if not is_free:  # the listener's spooler asks after each event
            posix.close(lock)
    if not is_free:
        return None
    if stderr is not None:
        _log_failure(error, stderr)
    return lock


def _has_failed(error: bytes) -> bool:
    """Whether a pusher reported an error within the last interval."""
    try:
        age = time.time() - posix.lstat(error).st_mtime
    except OSError:
        return False
    return 0 <= age < _INTERVAL_SECONDS


def _log_failure(error: bytes, stderr: int) -> None:
    """Write the line that a pusher left, if any; ignores links and other irregular files."""
    try:
        fd = posix.open(error, posix.O_RDONLY | _CAREFULLY)
        line = posix.read(fd, _MAX_ERROR).partition(b"\n")[0] if _is_plain(fd) else b""
        posix.close(fd)
    except OSError:
        return
    if line:
        from qmail_popup.stderr import log

        log(b"metrics are not pushed: %s" % line, stderr)


def _open(path: bytes) -> int:
    """Open a file for appending; OSError unless it is a regular file with one link."""
    posix.umask(0)  # this process is about to exit; the directory decides who may enter
    fd = posix.open(path, _APPEND | _CAREFULLY, _MODE)
    if not _is_plain(fd):
        posix.close(fd)
        raise OSError
    return fd


def _is_plain(fd: int) -> bool:
    """Whether it is a regular file with one link, or none if it was removed meanwhile."""
    status = posix.fstat(fd)
    return status.st_mode & _TYPE == _REGULAR and status.st_nlink <= 1


def _locked(fd: int, *, alone: bool = False) -> bool:
    import fcntl

    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(fd: int, path: bytes) -> bool:
    """Whether the open file is still the one at this path."""
    try:
        there, here = posix.lstat(path), posix.fstat(fd)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _has_room(directory: bytes, size: int) -> bool:
    """Whether the spool, including files taken over but not yet drained, stays below its limit.

    A reader never leaves so many files that listing takes long: if there are more, something else made them.
    """
    with posix.scandir(directory) as entries:
        for number, entry in enumerate(entries):
            if number >= _MAX_ENTRIES:
                return False
            size += _size(entry)
    return size <= MAX_SPOOL


def _size(entry: "DirEntry[bytes]") -> int:
    """Return how many bytes a file adds to the spool."""
    if entry.name != b"spool" and not entry.name.startswith(b"taken."):
        return 0
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # drained meanwhile
        return 0
