"""One open file of a log, and the position up to which it has been read.

A position advances by whole lines, and past lines that are too long. It includes digests of the file's
contents, so that it can be found again in a file with another name or inode.
"""

import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from observability.arrivals.log_lines import MAX_LINE

NO_TIME = float("inf")
_MARK = 256  # bytes of the first line, and before the offset, that identify a file
_PIECE = 262_144  # bytes read at once
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


# Number of bytes, and their hash: the contents of a log are private and must not be copied into the store.
Digest = tuple[int, str] | tuple[()]


def digest(data: bytes) -> Digest:
    """Return the digest of `data`."""
    return (len(data), blake2b(data, digest_size=12).hexdigest()) if data else ()


class Position(NamedTuple):
    """How far a file has been read."""

    inode: int
    offset: int = 0
    head: Digest = ()  # of the first line
    tail: Digest = ()  # of the bytes before the offset
    is_skipping: bool = False  # inside a line that is too long
    after: float | None = None  # if the position was lost: count only lines later than this


class Piece(NamedTuple):
    """Whole lines, read at once."""

    lines: Sequence[bytes]
    overlong: int  # number of lines longer than MAX_LINE, which are omitted
    after: float | None  # if not None, only later lines count


class File:
    """An open file.

    is_new: no position known yet; is_moved: no longer among the log's files; is_current: being written to
    is_behind: only lines not yet counted are to be read, but where they begin is not known yet
    """

    def __init__(self, path: Path, inode: int) -> None:
        """Open `path`; FileNotFoundError if it has another inode by now."""
        self._fd = os.open(path, _OPEN)
        if os.fstat(self._fd).st_ino != inode:
            os.close(self._fd)
            raise FileNotFoundError(path)
        self.position = Position(inode)
        self.is_new, self.is_moved, self.is_behind = True, False, False
        self.is_current = False

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def is_linked(self) -> bool:
        """Return whether the file still has a name."""
        return os.fstat(self._fd).st_nlink > 0

    def is_at(self, position: Position) -> bool:
        """Return whether this file has the contents that `position` describes, whatever its inode."""
        return (
            os.fstat(self._fd).st_size >= position.offset
            and self._holds(position.head, 0)
            and self._holds(position.tail, position.offset)
        )

    def go_on_from(self, position: Position) -> None:
        """Continue from a position."""
        self.position = position._replace(inode=self.position.inode)
        self.is_new = self.is_behind = False

    def begin_at_end(self) -> None:
        """Skip all complete lines."""
        size = os.fstat(self._fd).st_size
        start = max(0, size - MAX_LINE - 1)
        end = os.pread(self._fd, size - start, start).rfind(b"\n") + 1
        is_too_long = not end and start > 0  # that line is not counted, wherever it began
        self._move(size if is_too_long else start + end)
        self.position = self.position._replace(is_skipping=is_too_long)
        self.is_new = False

    def begin_behind(self, last: float | None) -> None:
        """Skip lines not later than the last one counted; if that had no time, skip all lines."""
        if last == NO_TIME:
            self.begin_at_end()
        self.position = self.position._replace(after=None if last == NO_TIME else last)
        self.is_behind = False

    def pieces(self) -> Iterator[Piece]:
        """Yield what has not been read yet, in whole lines."""
        while data := os.pread(self._fd, _PIECE, self.position.offset):
            end = data.rfind(b"\n") + 1
            if not end and len(data) <= MAX_LINE:
                return  # an incomplete line
            yield self._piece(data[:end] if end else data, is_whole=bool(end))

    def _piece(self, data: bytes, *, is_whole: bool) -> Piece:
        was_skipping = self.position.is_skipping
        self._move(self.position.offset + len(data))
        self.position = self.position._replace(is_skipping=not is_whole)
        lines = data.split(b"\n")[:-1]
        kept = [line for line in lines[was_skipping:] if len(line) <= MAX_LINE]
        overlong = len(lines[was_skipping:]) - len(kept) + (not is_whole and not was_skipping)
        return Piece(kept, overlong, self.position.after)

    def _holds(self, expected: Digest, end: int) -> bool:
        """Return whether the bytes before `end` (at the start: the first bytes) have this digest."""
        if not expected:
            return True
        return digest(os.pread(self._fd, expected[0], max(0, end - expected[0]))) == expected

    def _move(self, offset: int) -> None:
        start = max(0, offset - _MARK)
        tail = digest(os.pread(self._fd, offset - start, start))
        self.position = self.position._replace(offset=offset, head=self._head(offset), tail=tail)

    def _head(self, offset: int) -> Digest:
        """Return the digest of the first line; the known one if that is already complete."""
        known = self.position.head
        if known and (known[0] == _MARK or known[0] < self.position.offset):
            return known
        head = os.pread(self._fd, min(_MARK, offset), 0)
        return digest(head[: head.find(b"\n") + 1] or head)


def copied(file: File, others: Sequence[File]) -> Position | None:
    """Return how far the file that this one is a copy of has been read; None if it is not a copy."""
    positions = (other.position for other in others if other.position.offset)
    return next((position for position in positions if file.is_at(position)), None)


def reread(file: File, files: Sequence[File]) -> None:
    """Set where to read a file that was truncated: behind what was read elsewhere, if it is a copy by now."""
    others = [other for other in files if other is not file]
    position = copied(file, others)
    file.position = (position or Position(0))._replace(inode=file.position.inode)
    if position and any(other.position == position and other.is_at(position) for other in others):
        file.begin_at_end()  # what follows is read there
