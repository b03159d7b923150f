"""One file of a log, held open, and how far it has been read.

Owns a position and how it moves: by whole lines, past a line that is too long. A position names what stands
in the file, so that it can be found again in a file of another name, or of another inode.
"""

import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from observability.arrivals.log_lines import MAX_LINE

NO_TIME = float("inf")
_MARK = 256  # bytes of the first line, and before the offset, by which a file is told
_PIECE = 262_144  # bytes that are read at once
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


# How many bytes, and their hash: what stands in a log is nobody's business, and is kept nowhere else.
Digest = tuple[int, str] | tuple[()]


def digest(data: bytes) -> Digest:
    """Return what data can be told by."""
    return (len(data), blake2b(data, digest_size=12).hexdigest()) if data else ()


class Position(NamedTuple):
    """How far a file has been read."""

    inode: int
    offset: int = 0
    head: Digest = ()  # of its first line
    tail: Digest = ()  # of what stands before the offset
    is_skipping: bool = False  # a line that is too long and has not ended yet
    after: float | None = None  # only lines that are later count: the place was lost, and this is a guess


class Piece(NamedTuple):
    """What was read at once: whole lines."""

    lines: Sequence[bytes]
    overlong: int  # lines that were longer than MAX_LINE, and are not among these
    after: float | None  # only lines that are later than this count, where it is not None


class File:
    """A file that is held open.

    is_new: no position of it is known yet; is_moved: it is not where it was; is_current: it is written to
    is_behind: only what has not counted yet is to be read; where that begins is not known yet
    """

    def __init__(self, path: Path, inode: int) -> None:
        """Open path; FileNotFoundError where it has another inode by now."""
        self._fd = os.open(path, _OPEN)
        if os.fstat(self._fd).st_ino != inode:
            os.close(self._fd)
            raise FileNotFoundError(path)
        self.position = Position(inode)
        self.is_new, self.is_moved, self.is_behind = True, False, False
        self.is_current = False

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def is_linked(self) -> bool:
        """Whether it still has a name."""
        return os.fstat(self._fd).st_nlink > 0

    def is_at(self, position: Position) -> bool:
        """Whether this file holds what position says, whatever its inode."""
        return (
            os.fstat(self._fd).st_size >= position.offset
            and self._holds(position.head, 0)
            and self._holds(position.tail, position.offset)
        )

    def go_on_from(self, position: Position) -> None:
        """Take a position over."""
        self.position = position._replace(inode=self.position.inode)
        self.is_new = self.is_behind = False

    def begin_at_end(self) -> None:
        """Leave out the lines that are there; a line that has not ended yet is not there."""
        size = os.fstat(self._fd).st_size
        start = max(0, size - MAX_LINE - 1)
        end = os.pread(self._fd, size - start, start).rfind(b"\n") + 1
        is_too_long = not end and start > 0  # wherever that line began, it does not count
        self._move(size if is_too_long else start + end)
        self.position = self.position._replace(is_skipping=is_too_long)
        self.is_new = False

    def begin_behind(self, last: float | None) -> None:
        """Leave out what is no later than the last line that counted; all lines, where that had no time."""
        if last == NO_TIME:
            self.begin_at_end()
        self.position = self.position._replace(after=None if last == NO_TIME else last)
        self.is_behind = False

    def pieces(self) -> Iterator[Piece]:
        """Yield what has not been read yet, line by whole line."""
        while data := os.pread(self._fd, _PIECE, self.position.offset):
            end = data.rfind(b"\n") + 1
            if not end and len(data) <= MAX_LINE:
                return  # the line's end is to come
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
        """Whether the bytes before end, or the first ones, are those."""
        if not expected:
            return True
        return digest(os.pread(self._fd, expected[0], max(0, end - expected[0]))) == expected

    def _move(self, offset: int) -> None:
        start = max(0, offset - _MARK)
        tail = digest(os.pread(self._fd, offset - start, start))
        self.position = self.position._replace(offset=offset, head=self._head(offset), tail=tail)

    def _head(self, offset: int) -> Digest:
        """Return what the first line is told by; the known one, where it cannot have grown."""
        known = self.position.head
        if known and (known[0] == _MARK or known[0] < self.position.offset):
            return known
        head = os.pread(self._fd, min(_MARK, offset), 0)
        return digest(head[: head.find(b"\n") + 1] or head)
