"""The spool in a thread of its own: a file system that hangs holds up nothing but the spool.

Owns the rhythm: at every interval what belongs to the directory is looked after, what it holds is measured,
and it is drained. To the loop this is the spool itself, except that none of it waits: the loop takes a piece
when there is one, and confirms it once that is committed; only then the thread goes on. What is not committed
stays in its file.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence

from observability.arrivals.parsing import Arrival
from observability.arrivals.spool import Spool
from observability.errors import describe

_FIRST_SECONDS = 2.0  # to wait at the start, so that what it makes is there and its figures are known
_LAST_SECONDS = 1.0
_LOOK_SECONDS = 0.2  # while a piece is not committed: for the end


class SpoolThread:
    """The thread, from its start to close(). Its methods are the loop's.

    wake: a descriptor on which there is news once a piece is there (an eventfd(2), which nobody has to read)
    """

    def __init__(self, spool: Spool, tasks: Sequence[Callable[[], object]], interval: float) -> None:
        """Begin. tasks: what else has to do with the directory, at every interval (seconds)."""
        self._spool, self._tasks, self._interval = spool, tasks, interval
        self._pieces: queue.SimpleQueue[list[Arrival]] = queue.SimpleQueue()
        self._drained: deque[float] = deque(maxlen=1)
        self._is_handed_over = False
        self._committed, self._seen, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._bytes = 0
        self._lost: int | None = None
        self.error = self.notice = ""
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()
        self._seen.wait(_FIRST_SECONDS)

    @property
    def is_draining(self) -> bool:
        """Whether a piece is there."""
        return not self._pieces.empty()

    def begin(self) -> None:
        """Start nothing: the thread does."""

    def arrivals(self) -> list[Arrival]:
        """Return the piece that is there, if one is."""
        try:
            piece = self._pieces.get_nowait()
        except queue.Empty:
            return []
        self._is_handed_over = True
        return piece

    def settle(self) -> float | None:
        """Have what was committed removed; after a complete drain return when that began."""
        if self._is_handed_over:
            self._is_handed_over = False
            self._committed.set()
        return self._drained.pop() if self._drained else None

    def waiting_bytes(self) -> int:
        """Return how much waited when that was last known."""
        return self._bytes

    def lost_bytes(self) -> int | None:
        """Return how many events were lost when `lost` was last seen."""
        return self._lost

    def close(self) -> None:
        """Leave the rest where it is, and a file system that hangs to itself."""
        self._stopping.set()
        self._thread.join(_LAST_SECONDS)
        if not self._thread.is_alive():
            self._spool.close()
            os.close(self.wake)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._go_through()
            except Exception as error:  # noqa: BLE001  the boundary: the next time may be better
                self.error = f"cannot drain the spool: {describe(error)}"
            self._seen.set()
            self._stopping.wait(self._interval)

    def _go_through(self) -> None:
        for task in self._tasks:
            task()
        self._measure()
        self._spool.begin()
        while self._spool.is_draining and not self._stopping.is_set():
            self._drain()
        self._measure()
        self.error, self.notice = self._spool.error, self._spool.notice

    def _measure(self) -> None:
        self._bytes, self._lost = self._spool.waiting_bytes(), self._spool.lost_bytes()
        self._seen.set()

    def _drain(self) -> None:
        """Hand one piece over, and go on once it is committed."""
        if piece := self._spool.arrivals():
            self._committed.clear()
            self._pieces.put(piece)
            os.eventfd_write(self.wake, 1)
            while not self._committed.wait(_LOOK_SECONDS):
                if self._stopping.is_set():
                    return
        if (began := self._spool.settle()) is not None:
            self._drained.append(began)
