"""The rules file: checked for changes before each connection, and reread if it changed.

The file system may hang, so only a thread of a separate process reads it (`reader`). Each version of the
contents is an edition; the last few are kept, because a client logs in by the edition that admitted it. A
missing or broken file is also an edition: one that admits no client.
"""

import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable

from qmail_popup.listener.rules.rules import DENIED, BrokenRulesError, Rules, Verdict

_MAX_SIZE = 64 << 20  # bytes
_MAX_EDITIONS = 16
_FRESH_SECONDS = 2.0  # two changes this close together may leave the file with the same times
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Content = Rules | str
"""The file's rules, or why there are none."""
_Seen = tuple[int, int, int, int, int]


class RulesFile:
    """The rules at one path, with recent editions."""

    def __init__(self, path: bytes, log: Callable[[str], None]) -> None:
        """log: writes a line."""
        self._path, self._log = path, log
        self._editions: OrderedDict[int, Rules | None] = OrderedDict()
        self._seen: _Seen | None = None
        self._is_fresh = False
        self._read_last: bytes | str | None = None
        self.edition = 0

    def of(self, ip: bytes, edition: int) -> Verdict:
        """Return an edition's verdict on an address; the current edition's if that one is no longer kept."""
        rules = self._editions[edition if edition in self._editions else self.edition]
        return rules.of(ip) if rules else DENIED

    @property
    def lets_in(self) -> bool:
        """Whether the current edition is valid; an invalid one admits no client."""
        return self._editions[self.edition] is not None

    def refresh(self) -> None:
        """Read the file if it changed, and use it."""
        self.take(self.look())

    def look(self) -> Content | None:
        """Read the file; None if unchanged. May block or take seconds, so a thread runs it."""
        try:
            seen = _seen(os.stat(self._path))
            if seen == self._seen and not self._is_fresh:
                return None
            read = self._read()
        except OSError as error:
            self._seen = None
            read = error.strerror or "it cannot be read"
        if read == self._read_last:
            return None
        self._read_last = read
        return _parsed(read)

    def take(self, content: Content | None) -> None:
        """Start an edition if the content is new."""
        if content is not None:
            self._begin(content)

    def _read(self) -> bytes | str:
        """Return the file's contents, or what is wrong with the file; OSError."""
        fd = os.open(self._path, _FLAGS)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return "it is not a regular file"
            self._seen = _seen(status)
            now = time.time()  # which may be set back, or be behind a file's times
            ages = (abs(now - status.st_mtime), abs(now - status.st_ctime))
            self._is_fresh = min(ages) < _FRESH_SECONDS
            return _contents(fd) if status.st_size <= _MAX_SIZE else "it is larger than 64 MiB"
        finally:
            os.close(fd)

    def _begin(self, content: Content) -> None:
        """Start an edition, numbered above those of any earlier reader, so that each number is unique."""
        self.edition = max(self.edition + 1, time.monotonic_ns())
        if isinstance(content, str):
            self._editions[self.edition] = None
            self._complain(f"all clients are refused: {content}")
        else:
            self._editions[self.edition] = content
            self._remark(content)
        if len(self._editions) > _MAX_EDITIONS:
            self._editions.popitem(last=False)

    def _remark(self, rules: Rules) -> None:
        if rules.unused:
            self._complain(f"{rules.unused} rules for host or user names are ignored")
        if rules.ignored:
            names = ", ".join(sorted(name.decode("latin-1") for name in rules.ignored))
            self._complain(f"ignored variables, which rules cannot set: {names}")

    def _complain(self, what: str) -> None:
        self._log(f"{os.fsdecode(self._path)}: {what}")


def _seen(status: os.stat_result) -> _Seen:
    """Return the metadata that shows whether a file was changed or replaced."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _parsed(read: bytes | str) -> Content:
    try:
        return Rules(read) if isinstance(read, bytes) else read
    except BrokenRulesError as error:
        return str(error)


def _contents(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read(_MAX_SIZE + 1)
