"""The mirror: in the popup, from the event to the sidecar or, where none answers, to the spool.

Imported only where the operator has set it up. It owns one identity, one connection and a deadline, and it
knows nothing of POP3: fields come in, bytes go out. Where there is to be a pusher, it looks whether one runs.
Nothing that it does may delay, change or fail a login, so it does not block, and its public methods swallow
every fault there is (and say so): what cannot be delivered is counted in `lost`, where that can be written.

Descriptors that it keeps are above 9: those below may have been closed at the start, and mean something.
"""

import posix
import select
import time

from observability.event import SEPARATOR, SPAN, TRACE, build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SPOOL_MOST = 64 * 1024 * 1024  # bytes, of files taken away and not yet drained too
ANSWER_SECONDS = 0.25  # for all tries to reach a sidecar together
_ENTRIES_MOST = 1000
_SPOOL_TRIES = 8  # a lock is held for as long as one write takes, or one renaming
_SPOOL_PAUSE = 0.003
_ABOVE = 10
_MODE = 0o660  # the popup often runs as root, and the sidecar does not
_APPEND = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT
_CAREFULLY = posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_REGULAR = 0o100000  # S_IFREG; the module stat would cost an import
_TYPE = 0o170000


class Mirror:
    """One session's way out.

    traceparent: W3C Trace Context of the subprogram's span, for its environment
    """

    def __init__(self, sidecar: bytes, spool: bytes) -> None:
        """Make up an identity. sidecar: the path of a socket, or empty; spool: of a directory."""
        self._sidecar, self._spool = sidecar, spool
        self._connection: int | None = None
        trace, span = posix.urandom(16).hex().encode(), posix.urandom(8).hex().encode()
        self._identity = {TRACE: trace, SPAN: span}
        self.traceparent = b"00-%s-%s-01" % (trace, span)

    def hello(self, fields: "Mapping[bytes, bytes]") -> None:
        """Tell the sidecar that the session has begun. Swallows every fault: there is a second try."""
        try:
            if self._sidecar:
                self._connection = _connect(self._sidecar)
                _send(self._connection, self._block(fields))
        except Exception:  # noqa: BLE001, S110  the boundary: a login is worth more than its event
            pass

    def finish(self, fields: "Mapping[bytes, bytes]") -> None:
        """Deliver the event. Swallows every fault; takes 300 ms at most, and so comes last of all."""
        try:
            block = self._block(fields)
            if not (self._sidecar and self._acknowledged(block)):
                leave(self._spool, block)
        except Exception:  # noqa: BLE001, S110  the boundary, as above; leave has counted what it could
            pass

    def see_to_pusher(self, program: str, options: "Mapping[bytes, bytes]") -> None:
        """Start a pusher, unless one runs: who gets the lock starts one, and hands the lock over.

        program: argv[0] of this process; options: the pusher's. Comes after `finish`: a pusher that is about
        to end looks at the spool when it has let go of the lock. Swallows every fault, as above.
        """
        try:
            lock = _open(self._spool + b"/pusher.lock")
            if _locked(lock, alone=True):
                from observability.launch import launch

                launch(lock, program, options)
        except Exception:  # noqa: BLE001, S110  the boundary, as above; the event waits in the spool
            pass

    def _block(self, fields: "Mapping[bytes, bytes]") -> bytes:
        return build({**self._identity, **fields})

    def _acknowledged(self, block: bytes) -> bool:
        """Send the event on the session's connection, or on one more; whether it was acknowledged in time."""
        deadline = time.monotonic() + ANSWER_SECONDS
        if self._connection is not None and _told(self._connection, block, deadline):
            return True
        try:
            return time.monotonic() < deadline and _told(_connect(self._sidecar), block, deadline)
        except OSError:
            return False


def _connect(path: bytes) -> int:
    """Return a connection that does not block and is not inherited; OSError where there is none."""
    import _socket as socket  # 0.25 ms, for those with a sidecar; socket itself imports enum and selectors: 7

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
        return _moved(connection.fileno())
    finally:
        connection.close()


def _told(connection: int, block: bytes, deadline: float) -> bool:
    """Send the event; whether the one byte of acknowledgement came in time."""
    try:
        _send(connection, block)
        answer = select.poll()
        answer.register(connection, select.POLLIN)
        ready = answer.poll(max(0.0, deadline - time.monotonic()) * 1000)
        return bool(ready) and posix.read(connection, 1) != b""
    except OSError:
        return False


def _send(connection: int, block: bytes) -> None:
    """Send all of it or raise OSError: a receiver that takes only a part has stopped reading."""
    if posix.write(connection, block) < len(block):
        raise BlockingIOError


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
    for _ in range(_SPOOL_TRIES):
        fd = _open(directory + b"/spool")
        try:
            if _locked(fd) and _is_there(fd, directory + b"/spool"):
                return _has_room(directory, len(data)) and _left(posix.write(fd, data))
        finally:
            posix.close(fd)
        time.sleep(_SPOOL_PAUSE)
    return False


def _left(written: int) -> bool:
    """Whether nobody here has to count this event: even a torn one is counted where it is drained."""
    return written > len(SEPARATOR)


def _open(path: bytes) -> int:
    """Open a file for appending; OSError unless it is a regular file with one link."""
    posix.umask(0)  # of a process that is about to end; the directory says who may enter
    low = posix.open(path, _APPEND | _CAREFULLY, _MODE)
    try:
        fd = _moved(low)
    finally:
        posix.close(low)
    status = posix.fstat(fd)
    if status.st_mode & _TYPE != _REGULAR or status.st_nlink > 1:
        posix.close(fd)
        raise OSError
    return fd


def _moved(fd: int) -> int:
    """Duplicate a descriptor to a number that means nothing to anybody (fcntl would be an import)."""
    free = _ABOVE
    while _is_open(free):
        free += 1
    return posix.dup2(fd, free, inheritable=False)


def _is_open(fd: int) -> bool:
    try:
        posix.fstat(fd)
    except OSError:
        return False
    return True


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
            if number >= _ENTRIES_MOST:
                return False
            size += _size(entry)
    return size <= SPOOL_MOST


def _size(entry: "posix.DirEntry[bytes]") -> int:
    """Return what a file adds to the spool."""
    if entry.name != b"spool" and not entry.name.startswith(b"taken."):
        return 0
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # drained meanwhile
        return 0
