"""Descriptors 0 and 1, the network: one timed line in, one complete reply out.

Knows neither POP3 nor TLS. Never reads more bytes than allowed, because descriptor 0 will belong to another
program, and reads into one buffer that it wipes, because a line may hold a password. A session that cannot
continue is reported as a value, the word for how it ended, not as an exception.
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
            """Whether no more input will come: serve what was received, and wait for nothing."""

        def descriptors(self) -> Sequence[int]:
            """Return the descriptors to wait for besides the network."""

        def ended(self, ready: Collection[int]) -> str | None:
            """Handle the ready descriptors; return how the session ended, if it did."""

        def disconnected(self) -> None:
            """Record that no more input will come."""


IN, OUT = 0, 1
MAX_UNFINISHED = 1 << 20  # bytes of a line without LF: without read-ahead, every six cost a system call
DISCONNECTED = "disconnected"
TIMEOUT = "timeout"


class Wire:
    """The network, as a session sees it.

    timeout: seconds without progress until a read or a write ends the session
    max_line: how many bytes of a line are kept (plus one, to detect a longer line)
    busy_timeout: seconds from now until the session ends even if the client is active, unless `deadline`
    is set to None first; 0 for none
    """

    __slots__ = ("_buffer", "_dropped", "_filled", "_max_line", "_timeout", "_view", "deadline", "watch")

    def __init__(self, timeout: int, max_line: int, busy_timeout: int = 0) -> None:
        """Start with nothing read."""
        self._timeout = timeout
        self._max_line = max_line
        self.deadline = time.monotonic() + busy_timeout if busy_timeout else None
        # Never resized: growing would leave copies of its contents in freed memory.
        self._buffer = bytearray(2 * max_line)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._dropped = 0  # bytes of the current line beyond those kept
        self.watch: Watch | None = None

    def line(self, read_limit: "Callable[[memoryview], int]") -> bytearray | str:
        """Return the next line without its LF, at most `max_line` + 1 bytes, or how the session ended.

        The line is the only copy of what the client sent, and the caller must wipe it. `read_limit` gets the
        part of the line read so far and returns how many bytes may be read next.
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
        """Write `data`, in one write if possible; return how the session ended, if it did."""
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
        """Whether to go on serving commands after a reply could not be written.

        What the client sent before it disconnected may be a login. Only a watch can tell where the input
        ends.
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
        """Overwrite the part of an over-long line beyond `most` bytes."""
        if self._filled > most:
            wipe(self._view[most : self._filled])
            self._dropped += self._filled - most
            self._filled = most

    def _take(self, end: int) -> bytearray:
        """Remove the line that ends at `end` from the buffer, leaving no copy of it there."""
        line = bytearray(self._view[: min(end, self._max_line + 1)])
        rest = self._filled - (end + 1)
        self._view[:rest] = self._view[end + 1 : self._filled]
        wipe(self._view[rest : self._filled])
        self._filled, self._dropped = rest, 0
        return line

    def _ready(self, fd: int, event: int) -> str | None:
        """Wait until `fd` is ready; return how the session ended, if it did."""
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
    """Overwrite, in place, a buffer that may hold a password."""
    memoryview(buffer)[:] = bytes(len(buffer))
