"""The files of one log, their order, and how far each has been read.

Owns the position in a log that other programs write, rotate and remove. Never writes there, takes no lock.
A file is identified by its inode and its contents: the first line, and the last bytes read. So a rename
changes nothing, a copy of what was read is not read again, and a reused inode is another file. Known files
are kept open, so a rotated or removed file is still read to its end.

If the position is lost, reading continues with the first line later than the last one counted: a line may be
missed, but none counts twice.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from observability.arrivals.log_file import File, Piece, Position, copied, reread
from observability.arrivals.log_names import CURRENT, paths

_LOST = -1  # no inode
_CUT = "a file was truncated in place"
_MAX_NEW = 100  # new files opened at once; the rest follow at the next check
_MAX_BEHIND = 1000  # files searched for lines later than the last one counted
_MAX_READ = 16  # files before the newest: a writer unaware of a rotation may still append, or they are copies
_MAX_LEFT = 16  # files moved elsewhere, which may still be written to
_LOOKS = 20  # listings until two in a row agree; a rotation takes longer than a listing


class Place(NamedTuple):
    """How far a log has been read; saved in the transaction that counts the lines."""

    positions: Sequence[Position] = ()
    newest: int = 0  # inode of the newest file, 0 if there was none
    last: float | None = None  # time of the last line counted; NO_TIME if it had none


class Log:
    """One log. Methods may raise OSError, and can then be called again."""

    def __init__(self, path: Path, place: Place | None, *, from_start: bool = False) -> None:
        """Continue from `place`; without one, begin at the end of the log or at its start."""
        self._path = path
        self._kept = {position.inode: position for position in place.positions} if place else {}
        self._newest = place.newest if place else 0
        self.last = place.last if place else None  # updated by the caller, which counts lines
        self._begins_at_end = place is None and not from_start
        self._files: list[File] = []  # oldest first
        self._listed: frozenset[int] = frozenset()  # inodes of all files at the last check
        self._last_seen = 0  # the last of those that it opened, if others are left for the next check
        self.gaps: list[str] = []  # why lines may have been missed; the caller clears it

    def place(self) -> Place:
        """Return how far each file has been read; files after the newest will be read from their start."""
        positions = [file.position for file in self._files if not file.is_behind]
        begun = [each for each in positions if each.offset or each.after or each.inode == self._newest]
        return Place((*begun, *self._kept.values()), self._newest, self.last)

    @property
    def is_missing(self) -> bool:
        """Whether the log, and every rotated file of it, was missing at the last check."""
        return not any(not file.is_moved for file in self._files) and not os.path.lexists(self._path)

    def pieces(self) -> Iterator[Piece]:
        """Check the files, and yield new lines; `place` is then the position after the piece."""
        yield from self._pieces()
        while self._last_seen:
            yield from self._pieces()

    def _pieces(self) -> Iterator[Piece]:
        self._look()
        for file in self._files[:]:
            if file.is_behind:
                self._begin(file)
            yield from file.pieces()
        if self._files:
            # Not the last one in use: if all others were copies, the next check would find the same again.
            self._newest = self._last_seen or self._files[-1].position.inode
        self._forget()

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()
        self._files = []

    def _look(self) -> None:
        """Update the list of files, and set the position to read each from."""
        found = self._found()
        if found is None:
            return
        new, kept, newest = [file for file in found if file.is_new], self._kept.copy(), self._newest
        try:
            self._take(found)
        except OSError:  # the next check opens them again
            self._kept, self._newest = kept, newest
            raise
        finally:
            for file in new:
                if file not in self._files:
                    file.close()

    def _take(self, found: "list[File]") -> None:
        """Set where to read each file found, and read those from now on."""
        left = [file for file in self._files if file not in found]
        inodes = [file.position.inode for file in found]
        self._restore(found)
        if self._begins_at_end:
            for file in found:
                file.begin_at_end()
            self._begins_at_end = False
        else:
            self._mend_cut([*left, *found])
            found = self._without_copies(
                found, [file for file in left if file.position.inode in self._listed]
            )
            self._order(left, found, inodes)
        self._kept = {}
        self._files = [*left, *found]
        for file in self._files:
            file.is_new, file.is_moved = False, file in left

    def _found(self) -> "list[File] | None":
        """Return the existing files, oldest first; None if they change too fast to be listed."""
        seen: dict[int, Path] = {}
        for _ in range(_LOOKS):
            try:
                before, seen = seen, {path.lstat().st_ino: path for path in paths(self._path)}
                if [*seen.items()] == [*before.items()]:
                    return self._opened(self._unread(seen))
            except FileNotFoundError:  # rotated meanwhile
                seen = {}
        self._last_seen = 0
        return None

    def _unread(self, seen: Mapping[int, Path]) -> Mapping[int, Path]:
        """Omit files read long ago, and those left for the next check."""
        inodes, first, number = [*seen], 0, _MAX_READ + _MAX_NEW
        if self._newest in seen and not self._is_reused(seen[self._newest]):
            first = max(0, inodes.index(self._newest) - _MAX_READ)
        elif self._newest or self._begins_at_end:
            first, number = max(0, len(inodes) - _MAX_BEHIND), _MAX_BEHIND
        self._listed = frozenset(seen)
        self._last_seen = inodes[first + number - 1] if first + number < len(inodes) else 0
        return {inode: seen[inode] for inode in inodes[first : first + number]}

    def _is_reused(self, path: Path) -> bool:
        """Return whether another file has the newest one's inode; checked at the start: later it is open."""
        kept = self._kept.get(self._newest)
        if not kept:
            return False
        with closing(File(path, self._newest)) as file:
            return not file.is_at(kept)

    def _opened(self, seen: Mapping[int, Path]) -> "list[File]":
        """Open new files; FileNotFoundError if a name refers to another file by now."""
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
        """Set the saved position of each new file, or of the file it is a copy of."""
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
        """Reread each file that was truncated in place; the rest of it may be in a copy."""
        for file in files:
            if file.is_new or file.is_at(file.position):
                continue
            self.gaps.append(_CUT)
            copy = next((other for other in files if other.is_new and other.is_at(file.position)), None)
            if copy:
                copy.go_on_from(file.position)
            reread(file, files)

    def _without_copies(self, found: "Sequence[File]", earlier: "Sequence[File]") -> "list[File]":
        """Omit a copy of an existing file, which may be about to be truncated (copytruncate).

        earlier: files that still exist, but are too old to be among those found
        """
        known = [*earlier, *found]
        others = [other.position for other in known if not other.is_new and other.position.offset]
        return [file for file in found if not (file.is_new and any(map(file.is_at, others)))]

    def _order(self, left: "Sequence[File]", found: "Sequence[File]", inodes: Sequence[int]) -> None:
        """Set where to begin in each new file, by its order relative to the newest file read so far.

        inodes: of all files, oldest first, copies included
        """
        known = [file.position.inode for file in found if not file.is_new]
        last = max(map(inodes.index, [self._newest] if self._newest in inodes else known), default=-1)
        for file in found:
            if file.is_new and inodes.index(file.position.inode) < last:
                file.begin_at_end()  # rotated earlier, so it was counted, even if it is a rewritten copy
        if self._newest and self._newest not in inodes:
            self._go_on_later(left, [file for file in found if file.is_new])

    def _go_on_later(self, left: "Sequence[File]", new: "Sequence[File]") -> None:
        """Continue after the newest file read has disappeared; if still open, it is read to its end.

        Then a single file between it and the current one is its output from a log processor, and the current
        one is as written, or an edited copy. More than one is a gap: the contents of the missing files are
        unknown.
        """
        is_held = any(file.position.inode == self._newest for file in left)
        for file in new:
            file.is_behind = not (is_held and file.is_current) or copied(file, left) is not None
        if not is_held or sum(file.is_behind for file in new) > 1:
            self.gaps.append("the last file read is gone")

    def _begin(self, file: File) -> None:
        """Skip lines already counted: those of a moved file, else those not later than the last counted."""
        left = [other for other in self._files if other.is_moved]
        if position := copied(file, left):
            file.go_on_from(position)
        else:
            file.begin_behind(self.last)

    def _forget(self) -> None:
        """Close removed files except the newest, and the oldest of the moved ones if there are too many."""
        moved = [file for file in self._files if file.is_moved]
        ended = [file for file in self._files[:-1] if not file.is_linked()] + moved[:-_MAX_LEFT]
        self._files = [file for file in self._files if file not in ended]
        for file in ended:
            file.close()
