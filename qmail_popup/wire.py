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
DISCONNECTED = "disconnected"
TIMEOUT = "timeout"


class Wire:
    """The network, as a session sees it.

    idle: seconds until a read or a write without progress ends the session
    most: bytes of a line that are kept (and one more, to tell that it was longer)
    """

    __slots__ = ("_buffer", "_filled", "_idle", "_most", "_view", "watch")

    def __init__(self, idle: int, most: int) -> None:
        """Begin with nothing read."""
        self._idle = idle
        self._most = most
        # Never resized: growing would leave copies of what it held behind in freed memory.
        self._buffer = bytearray(2 * most)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self.watch: Watch | None = None

    def line(self, allowance: "Callable[[memoryview], int]") -> bytearray | str:
        """Return the next line without its LF, cut behind `most` + 1 bytes, or how the session ended.

        `allowance` is asked, with what there is of the line, how many bytes may be read next.
        """
        while (end := self._buffer.find(b"\n", 0, self._filled)) < 0:
            self._keep(self._most + 1)
            ended = self._ready(IN, select.POLLIN) or self._read(allowance(self._view[: self._filled]))
            if ended:
                self.wipe()
                return ended
        return self._take(end)

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

    def close(self) -> None:
        """Close both, if they are not yet."""
        for fd in (IN, OUT):
            try:
                posix.close(fd)
            except OSError:
                pass

    def wipe(self) -> None:
        """Overwrite what is left of an unfinished line."""
        self._view[:] = bytes(len(self._view))
        self._filled = 0

    def _read(self, most: int) -> str | None:
        try:
            count = posix.readv(IN, [self._view[self._filled : self._filled + most]])
        except BlockingIOError:
            return None
        except OSError:
            return DISCONNECTED
        self._filled += count
        return None if count else DISCONNECTED

    def _keep(self, most: int) -> None:
        """Overwrite what an over-long line has beyond `most` bytes."""
        if self._filled > most:
            self._view[most : self._filled] = bytes(self._filled - most)
            self._filled = most

    def _take(self, end: int) -> bytearray:
        """Cut the line that ends at `end` out of the buffer, and leave no copy of it there."""
        line = bytearray(self._view[: min(end, self._most + 1)])
        rest = self._filled - (end + 1)
        self._view[:rest] = self._view[end + 1 : self._filled]
        self._view[rest : self._filled] = bytes(self._filled - rest)
        self._filled = rest
        return line

    def _ready(self, fd: int, event: int) -> str | None:
        """Wait until `fd` is ready; how the session ended where it did before."""
        deadline = time.monotonic() + self._idle
        while True:
            over = self.watch is not None and self.watch.over
            ready = self._poll(fd, event, 0 if over else deadline - time.monotonic())
            if not ready:
                return DISCONNECTED if over else TIMEOUT
            ended = self.watch.ended(ready) if self.watch else None
            if ended or fd in ready:
                return ended

    def _poll(self, fd: int, event: int, seconds: float) -> list[int]:
        poll = select.poll()
        for watched in self.watch.descriptors() if self.watch else ():
            poll.register(watched, select.POLLIN)
        poll.register(fd, event)
        return [number for number, _events in poll.poll(max(0.0, seconds) * 1000)]
