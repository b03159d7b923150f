"""The spool in its own thread, so that a hung file system delays nothing else.

At every interval the thread runs its tasks, measures the directory and drains it. To the loop it looks like
the spool itself, but never blocks: the loop takes a piece when one is available and confirms it after the
commit; only then does the thread continue. Uncommitted events stay in their file.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence

from observability.arrivals.parsing import Arrival
from observability.arrivals.spool import Spool
from observability.errors import describe

_FIRST_SECONDS = 2.0  # to wait at the start for directory and figures
_LAST_SECONDS = 1.0
_LOOK_SECONDS = 0.2  # between checks for close() while a piece is not committed


class SpoolThread:
    """The thread, from its start to close(). The loop calls its methods.

    wake: an eventfd(2), written to when a piece is available; need not be read
    """

    def __init__(self, spool: Spool, tasks: Sequence[Callable[[], object]], interval: float) -> None:
        """Start the thread. tasks: run before each drain; interval: seconds."""
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
        """Whether a piece is available."""
        return not self._pieces.empty()

    def begin(self) -> None:
        """Do nothing: the thread starts drains."""

    def arrivals(self) -> list[Arrival]:
        """Return a piece, if one is available."""
        try:
            piece = self._pieces.get_nowait()
        except queue.Empty:
            return []
        self._is_handed_over = True
        return piece

    def settle(self) -> float | None:
        """Confirm a committed piece to the thread; after a complete drain return when it began."""
        if self._is_handed_over:
            self._is_handed_over = False
            self._committed.set()
        return self._drained.pop() if self._drained else None

    def waiting_bytes(self) -> int:
        """Return the size of all spooled files as last measured."""
        return self._bytes

    def lost_bytes(self) -> int | None:
        """Return how many events were lost as last measured."""
        return self._lost

    def close(self) -> None:
        """Stop the thread, leaving the rest in the spool; does not wait for a hung file system."""
        self._stopping.set()
        self._thread.join(_LAST_SECONDS)
        if not self._thread.is_alive():
            self._spool.close()
            os.close(self.wake)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._go_through()
            except Exception as error:  # noqa: BLE001  the boundary: the next drain may succeed
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
        """Pass one piece to the loop and wait until it is committed."""
        if piece := self._spool.arrivals():
            self._committed.clear()
            self._pieces.put(piece)
            os.eventfd_write(self.wake, 1)
            while not self._committed.wait(_LOOK_SECONDS):
                if self._stopping.is_set():
                    return
        if (began := self._spool.settle()) is not None:
            self._drained.append(began)
