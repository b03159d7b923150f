"""The spool: what popups left while no sidecar answered, as arrivals, and its removal once committed.

Owns the directory as the one who empties it: `spool` is taken away by renaming, then locked to wait for
writers that had it open, then read in bounded pieces; a file goes only when all of it was committed. Where
a writer is in flight, or anything else is in the way, the file stays for the next drain. So whenever and
however this process ends, nothing is lost; what comes twice is told by its identity.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from observability.arrivals.parsing import SPOOL, Arrival, Event, Malformed, parse
from observability.event import LIMIT, SEPARATOR

TAKEN_MOST = 100  # files, of which all but one were left behind

_TAKEN = "taken."
_PIECE = 65536  # bytes: some 150 events
_OVERLONG = b"x" * LIMIT  # stands for the beginning of what is too long anyway
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Spool:
    """The spool directory, and the drain of it that is under way."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        """Empty directory, which may be missing. clock: monotonic seconds."""
        self._directory, self._clock = directory, clock
        self._waiting: list[Path] = []
        self._reading: _File | None = None
        self._finished: list[_File] = []
        self._began = 0.0
        self.is_draining = False
        self.trouble = ""  # what kept the latest drain from being complete

    def begin(self) -> None:
        """Start a drain, if none is under way."""
        if self.is_draining:
            return
        self.is_draining, self.trouble, self._began = True, "", self._clock()
        try:
            self._take()
            self._waiting = sorted(self._taken())
        except OSError as error:
            self._note(error)

    def arrivals(self) -> list[Arrival]:
        """Return the next piece of the drain, if one is under way."""
        if not self._reading and self._waiting:
            self._reading = self._open(self._waiting.pop())
        if not self._reading:
            return []
        try:
            piece = self._reading.piece()
        except OSError as error:
            self._note(error)
            self._reading.close()
            self._reading = None
            return []
        if piece is None:
            self._finished.append(self._reading)
            self._reading = None
        return piece or []

    def settle(self) -> float | None:
        """Remove what was committed in whole; after a complete drain return when that began."""
        for file in self._finished:
            try:
                file.path.unlink()
            except OSError as error:
                self._note(error)
            file.close()
        self._finished = []
        if not self.is_draining or self._waiting or self._reading:
            return None
        self.is_draining = False
        return None if self.trouble else self._began

    def waiting_bytes(self) -> int:
        """Return the size of all that waits, taken or not."""
        with contextlib.suppress(OSError):
            return sum(map(_size, (self._directory / "spool", *self._taken())))
        return 0

    def lost_bytes(self) -> int | None:
        """Return the size of `lost`: a byte for each event that a popup could not leave here.

        None where it is not to be seen, which is not the same as nothing lost: it may come back.
        """
        with contextlib.suppress(OSError):
            if status := _status(self._directory / "lost"):
                return status.st_size
        return None

    def close(self) -> None:
        """Leave the rest where it is."""
        for file in (*self._finished, self._reading):
            if file:
                file.close()

    def _taken(self) -> list[Path]:
        """List what was taken; nothing where there is no directory, for then nothing was left in it."""
        try:
            names = [name for name in os.listdir(self._directory) if name.startswith(_TAKEN)]
        except FileNotFoundError:
            return []
        return [path for name in names if _status(path := self._directory / name)]

    def _take(self) -> None:
        spool = self._directory / "spool"
        # What cannot be drained piles up in one file then, and not in another one at each tick.
        if _size(spool) and len(self._taken()) < TAKEN_MOST:
            spool.rename(self._directory / f"{_TAKEN}{os.urandom(8).hex()}")

    def _open(self, path: Path) -> "_File | None":
        try:
            return _File(path)
        except BlockingIOError:
            self.trouble = f"cannot drain {path}: a writer is in flight"
        except OSError as error:
            self._note(error)
        return None

    def _note(self, error: OSError) -> None:
        self.trouble = f"cannot drain {self._directory}: {error}"


class _File:
    """One file that was taken away: open, and locked against writers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, _READ)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(self._fd).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "another process has drained it", str(path))
        except OSError:
            self.close()
            raise
        self._pieces = _pieces(self._fd)

    def piece(self) -> list[Arrival] | None:
        """Return the next events; None at the end."""
        return next(self._pieces, None)

    def close(self) -> None:
        """Let go of the file, and of the lock."""
        os.close(self._fd)


def _pieces(fd: int) -> Iterator[list[Arrival]]:
    rest = b""
    while data := os.read(fd, _PIECE):
        *blocks, rest = (rest + data).split(SEPARATOR)
        if len(rest) > LIMIT:
            rest = _OVERLONG + rest[-1:]  # which may be the first NUL of a separator
        yield _events(blocks)
    if last := _events([rest]):
        yield last


def _events(blocks: list[bytes]) -> list[Arrival]:
    # A run of more than two NULs leaves one at the edge of a block, or a block of nothing.
    return [Arrival(SPOOL, _event(block)) for block in (block.strip(b"\0") for block in blocks) if block]


def _event(block: bytes) -> Event | Malformed:
    what = parse(block)
    if isinstance(what, Event) and what.is_hello:
        return Malformed("a hello in the spool")
    return what


def _status(path: Path) -> os.stat_result | None:
    """Return what a regular file is; None for all else, which is never opened."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _size(path: Path) -> int:
    """Return a regular file's size; 0 where there is none."""
    status = _status(path)
    return status.st_size if status else 0
