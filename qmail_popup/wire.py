"""Descriptors 0 and 1, the network: one timed line in, one whole reply out.

Knows neither POP3 nor TLS. Reads no byte more than it is allowed to, because descriptor 0 will be
somebody else's, and reads into one buffer that it wipes, because a line may hold a password. A
session that cannot go on is a value, the word for how it ended, and no exception.
"""

import posix
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Protocol

    class Watch(Protocol):
        """Something else that may end the session while it waits for the network."""

        @property
        def over(self) -> bool:
            """Whether nothing more will come: what is there is served, and nothing is waited for."""

        def descriptors(self) -> Sequence[int]:
            """Return what to wait for besides the network."""

        def ended(self, ready: Collection[int]) -> str | None:
            """Look at those that are ready; a word where the session is over."""

        def disconnected(self) -> None:
            """Take it that nothing more will come."""


IN, OUT = 0, 1
MAX_UNFINISHED = 1 << 20  # bytes of a line without LF: with no read-ahead each six cost a system call
DISCONNECTED = "disconnected"
TIMEOUT = "timeout"


class Wire:
    """The network, as a session sees it.

    timeout: seconds until a read or a write without progress ends the session
    max_line: bytes of a line that are kept (and one more, to tell that it was longer)
    busy_timeout: seconds from now until the session ends however busy the client is, unless `deadline`
    is set to None before; 0 for none
    """

    __slots__ = ("_buffer", "_dropped", "_filled", "_max_line", "_timeout", "_view", "deadline", "watch")

    def __init__(self, timeout: int, max_line: int, busy_timeout: int = 0) -> None:
        """Begin with nothing read."""
        self._timeout = timeout
        self._max_line = max_line
        self.deadline = time.monotonic() + busy_timeout if busy_timeout else None
        # Never resized: growing would leave copies of what it held behind in freed memory.
        self._buffer = bytearray(2 * max_line)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._dropped = 0  # bytes of the line, behind those that are kept
        self.watch: Watch | None = None

    def line(self, read_limit: "Callable[[memoryview], int]") -> bytearray | str:
        """Return the next line without its LF, cut behind `max_line` + 1 bytes, or how the session ended.

        It is the only copy of what the client sent, and the caller's to wipe. `read_limit` is asked, with
        what there is of the line, how many bytes may be read next.
        """
        ended = None
        while not ended:
            end = self._buffer.find(b"\n", 0, self._filled)
            if self._dropped + (self._filled if end < 0 else end) > MAX_UNFINISHED:
                break
            if end >= 0:
                return self._take(end)
            self._keep(self._max_line + 1)
            ended = self._ready(IN, select.POLLIN) or self._read(read_limit(self._view[: self._filled]))
        self.wipe()
        return ended or DISCONNECTED

    def reply(self, data: bytes) -> str | None:
        """Write `data`, in one piece where the network takes it so; how the session ended where it did."""
        while data:
            ended = self._ready(OUT, select.POLLOUT)
            if ended:
                return ended
            try:
                data = data[posix.write(OUT, data) :]
            except BlockingIOError:
                pass
            except OSError:
                return DISCONNECTED
        return None

    def serves_on(self, ended: str | None) -> bool:
        """Whether commands are still to be served though a reply could not be written.

        What the client sent before it left may be a login. Only a watch can tell where that ends.
        """
        if ended != DISCONNECTED or self.watch is None:
            return False
        self.watch.disconnected()
        return True

    def wipe(self) -> None:
        """Overwrite what is left of an unfinished line."""
        wipe(self._view)
        self._filled = 0

    def _read(self, limit: int) -> str | None:
        try:
            count = posix.readv(IN, [self._view[self._filled : self._filled + limit]])
        except BlockingIOError:
            return None
        except OSError:
            return DISCONNECTED
        self._filled += count
        return None if count else DISCONNECTED

    def _keep(self, most: int) -> None:
        """Overwrite what an over-long line has beyond `most` bytes."""
        if self._filled > most:
            wipe(self._view[most : self._filled])
            self._dropped += self._filled - most
            self._filled = most

    def _take(self, end: int) -> bytearray:
        """Cut the line that ends at `end` out of the buffer, and leave no copy of it there."""
        line = bytearray(self._view[: min(end, self._max_line + 1)])
        rest = self._filled - (end + 1)
        self._view[:rest] = self._view[end + 1 : self._filled]
        wipe(self._view[rest : self._filled])
        self._filled, self._dropped = rest, 0
        return line

    def _ready(self, fd: int, event: int) -> str | None:
        """Wait until `fd` is ready; how the session ended where it did before."""
        deadline = time.monotonic() + self._timeout
        if self.deadline is not None:
            deadline = min(deadline, self.deadline)
        while (seconds := deadline - time.monotonic()) > 0:
            over = self.watch is not None and self.watch.over
            ready = self._poll(fd, event, 0 if over else seconds)
            if over and not ready:
                return DISCONNECTED
            ended = self.watch.ended(ready) if self.watch else None
            if ended or fd in ready:
                return ended
        return TIMEOUT

    def _poll(self, fd: int, event: int, seconds: float) -> list[int]:
        poll = select.poll()
        for watched in self.watch.descriptors() if self.watch else ():
            poll.register(watched, select.POLLIN)
        poll.register(fd, event)
        return [number for number, _events in poll.poll(seconds * 1000)]


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite what may be a password, in place."""
    memoryview(buffer)[:] = bytes(len(buffer))
