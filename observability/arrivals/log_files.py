"""The files of one log: which there are, in which order, and how far each has been read.

Owns the place in a log that somebody else writes, rotates and removes. Never writes there and takes no
lock. A file is identified by its inode and by its content: its first line, and the last bytes that were
read. So a rename changes nothing, a copy of what was read is not read again, and an inode that is used
again is another file. Known files are held open, so a file that was rotated or removed is still read to its
end.

Where the place is lost, reading goes on with the first line that is later than the last one that counted: a
line may be missed, but none counts twice.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from observability.arrivals.log_file import File, Piece, Position
from observability.arrivals.log_names import CURRENT, paths

_LOST = -1  # no inode
_CUT = "a file was truncated in place"
_MAX_NEW = 100  # files that are opened at a look; the next look goes on behind them
_MAX_BEHIND = 1000  # that are searched for what is later than the last line that counted
_MAX_READ = 16  # before the newest file: still written to by who was not told of a rotation, or copies
_MAX_LEFT = 16  # files that were moved elsewhere, and may still be written to
_LOOKS = 20  # until two in turn see the same files; a rotation takes longer than a look


class Place(NamedTuple):
    """How far a log has been read: to be kept in the transaction that counts what was read."""

    positions: Sequence[Position] = ()
    newest: int = 0  # inode of the file that was the last in order, 0 where there was none
    last: float | None = None  # time of the last line that counted; NO_TIME where it had none


class Log:
    """One log. Its methods may raise OSError, and can then be called again."""

    def __init__(self, path: Path, place: Place | None, *, from_start: bool = False) -> None:
        """Go on from place; without one from the end of what there is, or from its start."""
        self._path = path
        self._kept = {position.inode: position for position in place.positions} if place else {}
        self._newest = place.newest if place else 0
        self.last = place.last if place else None  # whoever counts lines keeps it up to date
        self._begins_at_end = place is None and not from_start
        self._files: list[File] = []  # in order
        self._has_more = False  # files that were not opened at the last look
        self.gaps: list[str] = []  # where lines may have been missed; whoever reads them takes them away

    def place(self) -> Place:
        """Return how far everything has been read; what comes behind the newest is read from its start."""
        positions = [file.position for file in self._files if not file.is_behind]
        begun = [each for each in positions if each.offset or each.after or each.inode == self._newest]
        return Place((*begun, *self._kept.values()), self._newest, self.last)

    @property
    def is_missing(self) -> bool:
        """Whether there was nothing at the last look, and nothing that it was renamed to."""
        return not any(not file.is_moved for file in self._files) and not os.path.lexists(self._path)

    def pieces(self) -> Iterator[Piece]:
        """Look for files, and yield what is new in them; `place` then is the one behind the piece."""
        yield from self._pieces()
        while self._has_more:
            yield from self._pieces()

    def _pieces(self) -> Iterator[Piece]:
        self._look()
        for file in self._files[:]:
            if file.is_behind:
                self._begin(file)
            yield from file.pieces()
        if self._files:
            self._newest = self._files[-1].position.inode
        self._forget()

    def close(self) -> None:
        """Let go of all files."""
        for file in self._files:
            file.close()
        self._files = []

    def _look(self) -> None:
        """Bring the files up to date, in order, each with the position to read from."""
        found = self._found()
        if found is None:
            return
        left = [file for file in self._files if file not in found]
        self._restore(found)
        if self._begins_at_end:
            for file in found:
                file.begin_at_end()
            self._begins_at_end = False
        else:
            self._mend_cut([*left, *found])
            found = self._without_copies(found)
            self._order(left, found)
        self._kept = {}
        self._files = [*left, *found]
        for file in self._files:
            file.is_new, file.is_moved = False, file in left

    def _found(self) -> "list[File] | None":
        """Return the files that are there, the oldest first; None where they change too fast to be listed."""
        seen: dict[int, Path] = {}
        self._has_more = False
        for _ in range(_LOOKS):
            try:
                before, seen = seen, {path.lstat().st_ino: path for path in paths(self._path)}
                if [*seen.items()] == [*before.items()]:
                    return self._opened(self._unread(seen))
            except FileNotFoundError:  # rotated meanwhile
                seen = {}
        return None

    def _unread(self, seen: Mapping[int, Path]) -> Mapping[int, Path]:
        """Leave out what was read long ago, and what the next look will find."""
        inodes, first, number = [*seen], 0, _MAX_READ + _MAX_NEW
        if self._newest in seen:
            first = max(0, inodes.index(self._newest) - _MAX_READ)
        elif self._newest or self._begins_at_end:
            first, number = max(0, len(inodes) - _MAX_BEHIND), _MAX_BEHIND
        self._has_more = first + number < len(inodes)
        return {inode: seen[inode] for inode in inodes[first : first + number]}

    def _opened(self, seen: Mapping[int, Path]) -> "list[File]":
        """Open those that are new; FileNotFoundError where a name means another file by now."""
        known = {file.position.inode: file for file in self._files}
        with ExitStack() as new:
            for inode, path in seen.items():
                if inode not in known:
                    known[inode] = File(path, inode)
                    new.callback(known[inode].close)
                known[inode].is_current = path.name in (CURRENT, self._path.name)
            new.pop_all()
        return [known[inode] for inode in seen]

    def _restore(self, found: "Sequence[File]") -> None:
        """Give each new file the position that was kept of it, or of what it is a copy of."""
        for file in found:
            kept = self._kept.get(file.position.inode)
            if file.is_new and kept and file.is_at(kept):
                file.go_on_from(self._kept.pop(file.position.inode))
        inodes = {file.position.inode for file in found}
        for file in [file for file in found if file.is_new]:
            kept = next((kept for kept in self._kept.values() if kept.offset and file.is_at(kept)), None)
            if kept:
                file.go_on_from(self._kept.pop(kept.inode))
                self._newest = file.position.inode if self._newest == kept.inode else self._newest
                self.gaps += [_CUT] if kept.inode in inodes else []
        if self._newest in self._kept:
            self._newest = _LOST

    def _mend_cut(self, files: "Sequence[File]") -> None:
        """Begin again with each file that was cut short in place; the rest of it may be in a copy."""
        for file in files:
            if file.is_new or file.is_at(file.position):
                continue
            self.gaps.append(_CUT)
            copy = next((other for other in files if other.is_new and other.is_at(file.position)), None)
            if copy:
                copy.go_on_from(file.position)
            file.position = Position(file.position.inode)

    def _without_copies(self, found: "Sequence[File]") -> "list[File]":
        """Leave out a copy of a file that is still there: that one may be cut short next."""
        kept: list[File] = []
        for file in found:
            others = [other.position for other in found if not other.is_new and other.position.offset]
            if file.is_new and any(map(file.is_at, others)):
                file.close()
            else:
                kept.append(file)
        return kept

    def _order(self, left: "Sequence[File]", found: "Sequence[File]") -> None:
        """Say where to begin with each new file, by where the one stands that was the last."""
        new = [file for file in found if file.is_new]
        inodes = [file.position.inode for file in found]
        if self._newest in inodes:
            for file in new:
                if inodes.index(file.position.inode) < inodes.index(self._newest):
                    file.begin_at_end()  # it was rotated before: counted, in whatever form it is here
        elif self._newest:
            self._go_on_later(left, new)

    def _go_on_later(self, left: "Sequence[File]", new: "Sequence[File]") -> None:
        """Go on where the last file is not here any more; held open, it is read to its end.

        Then one file between it and the current one is what a processor has made of it, and the current one
        is as it was written, or a copy by somebody who edited it. More of them are a gap: nobody knows what
        stood in those that are gone.
        """
        is_held = any(file.position.inode == self._newest for file in left)
        for file in new:
            file.is_behind = not (is_held and file.is_current) or _copied(file, left) is not None
        if not is_held or sum(file.is_behind for file in new) > 1:
            self.gaps.append("the last file read is gone")

    def _begin(self, file: File) -> None:
        """Leave out what counted: what a file that is not here any more held, and else what is no later."""
        left = [other for other in self._files if other.is_moved]
        if copied := _copied(file, left):
            file.go_on_from(copied)
        else:
            file.begin_behind(self.last)

    def _forget(self) -> None:
        """Close what was removed, all but the newest, and what was moved elsewhere, if that is much."""
        moved = [file for file in self._files if file.is_moved]
        ended = [file for file in self._files[:-1] if not file.is_linked()] + moved[:-_MAX_LEFT]
        self._files = [file for file in self._files if file not in ended]
        for file in ended:
            file.close()


def _copied(file: File, left: Sequence[File]) -> Position | None:
    """Return how far the file has been read of which this one is a copy; None where it is none."""
    positions = (other.position for other in left if other.position.offset)
    return next((position for position in positions if file.is_at(position)), None)
