"""The spool, as the popup has it: one file in a directory, to which it appends an event in one write.

Owns how that file is opened, locked and bounded. The one who drains it (arrivals/spool.py) renames it, often.
The popup often runs as root and the sidecar does not, so the directory decides who may enter. What a link, a
FIFO or a lock that is held could do to root's popup ends here: as OSError, or as a lost event, which is
counted in `lost` where even that can be written.
"""

import posix
import time

from observability.event import SEPARATOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from posix import DirEntry

MAX_SPOOL = 64 * 1024 * 1024  # bytes, of files taken away and not yet drained too
_MAX_ENTRIES = 1000
_TRIES = 8  # a lock is held for as long as one write takes, or one renaming
_PAUSE_SECONDS = 0.003
_INTERVAL_SECONDS = 15  # of a pusher; what it lacked a moment ago it lacks now
_MAX_ERROR = 512  # bytes
_MODE = 0o660
_APPEND = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT
_CAREFULLY = posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_REGULAR = 0o100000  # S_IFREG; the module stat would cost an import
_TYPE = 0o170000


def leave(directory: bytes, block: bytes) -> None:
    """Append an event to the spool, or else a byte to `lost`; OSError where not even that can be."""
    try:
        if _appended(directory, SEPARATOR + block):
            return
    except OSError:
        pass
    fd = _open(directory + b"/lost")
    posix.write(fd, b".")
    posix.close(fd)


def _appended(directory: bytes, data: bytes) -> bool:
    """Write `data` to the spool in one write; False where there is no room, or no lock to be had.

    The one who drains renames the file and then locks it: so the lock counts only if the file is still
    the one in the directory. Neither side blocks for a lock.
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
    """Whether nobody here has to count this event: even a torn one is counted where it is drained."""
    return written > len(SEPARATOR)


def lock_pushers(directory: bytes, stderr: int | None = None) -> int | None:
    """Return a descriptor that holds the pushers' lock, or None; OSError.

    None where a pusher has it, and where the last one could not work and that is not long ago. Who gets it
    writes to stderr why the last one failed, if it did: so one popup in an interval does.
    """
    lock, error = _open(directory + b"/pusher.lock"), directory + b"/pusher.error"
    if not _locked(lock, alone=True) or _has_failed(error):
        return None
    if stderr is not None:
        _log_failure(error, stderr)
    return lock


def _has_failed(error: bytes) -> bool:
    """Whether a pusher has said within the last interval why it could not work."""
    try:
        age = time.time() - posix.lstat(error).st_mtime
    except OSError:
        return False
    return 0 <= age < _INTERVAL_SECONDS


def _log_failure(error: bytes, stderr: int) -> None:
    """Write a line that a pusher left, if it did; a link or another's file is left alone."""
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
    posix.umask(0)  # of a process that is about to end; the directory says who may enter
    fd = posix.open(path, _APPEND | _CAREFULLY, _MODE)
    if not _is_plain(fd):
        posix.close(fd)
        raise OSError
    return fd


def _is_plain(fd: int) -> bool:
    """Whether it is a regular file with one link, or none where it was removed meanwhile."""
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
    """Whether the open file is still the one of that name."""
    try:
        there, here = posix.lstat(path), posix.fstat(fd)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _has_room(directory: bytes, size: int) -> bool:
    """Whether the spool, with what was taken away and is not yet drained, stays below its limit.

    Who drains never leaves as many files as would take long to look at: more are somebody else's doing.
    """
    with posix.scandir(directory) as entries:
        for number, entry in enumerate(entries):
            if number >= _MAX_ENTRIES:
                return False
            size += _size(entry)
    return size <= MAX_SPOOL


def _size(entry: "DirEntry[bytes]") -> int:
    """Return what a file adds to the spool."""
    if entry.name != b"spool" and not entry.name.startswith(b"taken."):
        return 0
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # drained meanwhile
        return 0
