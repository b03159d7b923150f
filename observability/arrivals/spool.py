"""The spool: reads events that popups left while no sidecar answered, and removes them once committed.

Draining renames `spool`, locks it to exclude writers that still have it open, and reads it in bounded pieces;
a file is removed only when all of it is committed. If a writer is in flight, or on any other error, the file
stays for the next drain. So nothing is lost however this process ends; duplicates are recognized by their
identity.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from observability.arrivals.directory import Directory
from observability.arrivals.parsing import SPOOL, Arrival, Event, Malformed, Read, parse
from observability.arrivals.paths import Lost
from observability.errors import describe
from observability.event import LIMIT, SEPARATOR

MAX_TAKEN = 100  # renamed files, all but one left over from earlier drains
MAX_FILES = 1000  # drained at most: popups stop there, too
MAX_BYTES = 128 * 1024 * 1024  # of all files; popups stop at half of that

_TAKEN = "taken."
_PIECE = 65536  # bytes: some 150 events
_OVERLONG = b"x" * LIMIT  # replaces the beginning of a block that is too long
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Spool:
    """The spool directory, and the drain in progress."""

    def __init__(self, directory: Path, clock: Callable[[], float], read: Read = parse) -> None:
        """directory: may be missing; clock: monotonic seconds."""
        self._directory, self._clock, self._read = directory, clock, read
        self._place = Directory(directory)
        self._waiting: list[Path] = []
        self._reading: _File | None = None
        self._finished: list[_File] = []
        self._began = 0.0
        self.is_draining = False
        self.error = ""  # why the latest drain was incomplete
        self.notice = ""  # files that the latest drain set aside, as a log line
        self.drains = 0  # number of finished drains

    def begin(self) -> None:
        """Start a drain, unless one is in progress."""
        if self.is_draining:
            return
        self.is_draining, self._began = True, self._clock()
        self.error = self.notice = ""
        try:
            try:
                self._take()
            finally:  # files taken earlier can be drained even if another cannot be taken
                self._waiting = self._drainable(self._taken())
        except OSError as error:
            self._note(error)

    def arrivals(self) -> list[Arrival]:
        """Return the next piece of the drain, if one is in progress."""
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
        """Remove completely committed files; after a complete drain return when it began."""
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
        self.drains += 1
        return None if self.error else self._began

    def waiting_bytes(self) -> int:
        """Return the size of all spooled files, renamed or not."""
        with contextlib.suppress(OSError):
            return sum(map(_size, (self._directory / "spool", *self._taken())))
        return 0

    def keep(self) -> Lost | None:
        """See Directory.keep()."""
        return self._place.keep()

    def lost_bytes(self) -> int | None:
        """See Directory.lost_bytes()."""
        return self._place.lost_bytes()

    def close(self) -> None:
        """Close the files, leaving the rest for the next drain."""
        for file in (*self._finished, self._reading):
            if file:
                file.close()

    def _taken(self) -> list[Path]:
        """List the renamed files; empty if the directory is missing."""
        try:
            names = [name for name in os.listdir(self._directory) if name.startswith(_TAKEN)]
        except FileNotFoundError:
            return []
        return [path for name in names if _status(path := self._directory / name)]

    def _drainable(self, files: list[Path]) -> list[Path]:
        """Return the files to drain, to be popped smallest first; set aside those beyond the limits."""
        sizes = sorted((_size(path), path) for path in files)
        total, kept = 0, 0
        for size, _ in sizes[:MAX_FILES]:
            total += size
            if total > MAX_BYTES:
                break
            kept += 1
        if others := [path for _, path in sizes[kept:]]:
            try:
                self._set_aside(others)
            except OSError as error:
                self._note(error)
        return [path for _, path in reversed(sizes[:kept])]

    def _set_aside(self, files: list[Path]) -> None:
        aside = self._directory / f"aside.{os.urandom(8).hex()}"
        aside.mkdir(0o700)
        for path in files:
            path.rename(aside / path.name)
        self.notice = f"spool files too large or too many, moved to {aside}: {len(files)}"

    def _take(self) -> None:
        spool = self._directory / "spool"
        # Beyond the limit, undrainable events collect in one file instead of a new one at each tick.
        if _size(spool) and len(self._taken()) < MAX_TAKEN:
            spool.rename(self._directory / f"{_TAKEN}{os.urandom(8).hex()}")

    def _open(self, path: Path) -> "_File | None":
        try:
            return _File(path, self._read)
        except BlockingIOError:
            self.error = f"cannot drain {path}: another process is writing to it"
        except OSError as error:
            self._note(error)
        return None

    def _note(self, error: OSError) -> None:
        self.error = f"cannot drain the spool: {describe(error)}"


class _File:
    """A renamed file: open, and locked against writers."""

    def __init__(self, path: Path, read: Read) -> None:
        self.path = path
        self._fd = os.open(path, _READ)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(self._fd).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "another process has drained it", str(path))
        except OSError:
            self.close()
            raise
        self._pieces = _pieces(self._fd, read)

    def piece(self) -> list[Arrival] | None:
        """Return the next events; None at the end."""
        return next(self._pieces, None)

    def close(self) -> None:
        """Close the file, which releases the lock."""
        os.close(self._fd)


def _pieces(fd: int, read: Read) -> Iterator[list[Arrival]]:
    rest = b""
    while data := os.read(fd, _PIECE):
        *blocks, rest = (rest + data).split(SEPARATOR)
        if len(rest) > LIMIT:
            rest = _OVERLONG + rest[-1:]  # rest[-1:] may be the first NUL of a separator
        yield _events(blocks, read)
    if last := _events([rest], read):
        yield last


def _events(blocks: list[bytes], read: Read) -> list[Arrival]:
    # More than two NULs in a row leave one at the edge of a block, or an empty block.
    return [
        Arrival(SPOOL, _event(block, read)) for block in (block.strip(b"\0") for block in blocks) if block
    ]


def _event(block: bytes, read: Read) -> Event | Malformed:
    what = read(block)
    if isinstance(what, Event) and what.is_hello:
        return Malformed("a hello in the spool")
    return what


def _status(path: Path) -> os.stat_result | None:
    """Return a regular file's status; None for anything else, which is never opened."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _size(path: Path) -> int:
    """Return a regular file's size; 0 if there is none."""
    status = _status(path)
    return status.st_size if status else 0
