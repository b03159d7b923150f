"""The file of rules, as it is now: looked at before each connection, read again where it has changed.

Reading may take as long as a file system likes, so only a thread of a process of its own does it (`reader`).
Each content is an edition; the last few are kept, because who connected by one logs in by it. A file that is
missing or broken is an edition, too, by which nobody is let in.
"""

import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable

from qmail_popup.listener.rules.rules import DENIED, BrokenRulesError, Rules, Verdict

_MAX_SIZE = 64 << 20  # bytes
_MAX_EDITIONS = 16
_FRESH_SECONDS = 2.0  # a change so shortly after another may leave the times of a file as they are
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Content = bytes | str
"""What a file holds, or why it holds nothing."""
_Seen = tuple[int, int, int, int, int]


class RulesFile:
    """One path, and what it has led to."""

    def __init__(self, path: bytes, log: Callable[[str], None]) -> None:
        """Begin with nothing read; log: writes a line."""
        self._path, self._log = path, log
        self._editions: OrderedDict[int, Rules | None] = OrderedDict()
        self._seen: _Seen | None = None
        self._is_fresh = False
        self._content: Content | None = None
        self.edition = 0

    def of(self, ip: bytes, edition: int) -> Verdict:
        """Return what an edition says of an address: of one that is no longer kept, what the last does."""
        rules = self._editions[edition if edition in self._editions else self.edition]
        return rules.of(ip) if rules else DENIED

    @property
    def lets_in(self) -> bool:
        """Whether it is a good one, which may let somebody in."""
        return self._editions[self.edition] is not None

    def refresh(self) -> None:
        """Take what it is now."""
        self.take(self.look())

    def look(self) -> Content | None:
        """Read the file; None where it is the one that was read last. May take long; begins nothing."""
        try:
            seen = _seen(os.stat(self._path))
            if seen == self._seen and not self._is_fresh:
                return None
            return self._read()
        except OSError as error:
            self._seen = None
            return error.strerror or "it cannot be read"

    def take(self, content: Content | None) -> None:
        """Begin an edition with what was found, if that is something new."""
        if content is not None and content != self._content:
            self._content = content
            self._begin(content)

    def _read(self) -> Content:
        """Return what the file holds, or what is wrong with it; OSError."""
        fd = os.open(self._path, _FLAGS)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return "it is not a regular file"
            self._seen = _seen(status)
            self._is_fresh = time.time() - max(status.st_mtime, status.st_ctime) < _FRESH_SECONDS
            return _contents(fd) if status.st_size <= _MAX_SIZE else "it is larger than 64 MiB"
        finally:
            os.close(fd)

    def _begin(self, content: Content) -> None:
        """Begin an edition, above those of any reader before this one, so that none has two meanings."""
        self.edition = max(self.edition + 1, time.monotonic_ns())
        self._editions[self.edition] = self._rules(content)
        if len(self._editions) > _MAX_EDITIONS:
            self._editions.popitem(last=False)

    def _rules(self, content: Content) -> Rules | None:
        """Return what it says, if it says anything, and log what there is to be said of it."""
        try:
            rules = Rules(content) if isinstance(content, bytes) else None
        except BrokenRulesError as error:
            content, rules = str(error), None
        if rules:
            self._remark(rules)
        else:
            self._complain(f"nobody is let in: {content!s}")
        return rules

    def _remark(self, rules: Rules) -> None:
        if rules.unused:
            self._complain(f"{rules.unused} rules for names of hosts or users are never followed")
        if rules.ignored:
            names = ", ".join(sorted(name.decode("latin-1") for name in rules.ignored))
            self._complain(f"variables that no rule sets are ignored: {names}")

    def _complain(self, what: str) -> None:
        self._log(f"{os.fsdecode(self._path)}: {what}")


def _seen(status: os.stat_result) -> _Seen:
    """Return what tells one content from another without reading it."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _contents(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read(_MAX_SIZE + 1)
