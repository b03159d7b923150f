"""Checks the socket's path periodically, in a thread, so that a hung file system does not stop counting.

A missing socket is recreated here. The loop takes the new one when it is ready, and serves connections to the
old one meanwhile.
"""

import queue
import socket
import threading
from collections.abc import Callable
from functools import partial

from observability.arrivals.listener import Listener
from observability.arrivals.paths import Watch

_LAST_SECONDS = 1.0


class ListenerThread:
    """The thread, from its start to close()."""

    def __init__(self, listener: Listener, report: Callable[[str, str, bool], None], interval: float) -> None:
        """Start the thread. report: as for Watch; interval: seconds."""
        self._listener, self._interval = listener, interval
        self._made: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._watch = Watch({"socket": partial(listener.keep, self._made.put)}, report)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="socket", daemon=True)
        self._thread.start()

    def hand_over(self, move: Callable[[socket.socket], None]) -> None:
        """Pass `move` each socket created since the last call."""
        while not self._made.empty():
            move(self._made.get())

    def close(self) -> None:
        """Remove the socket, unless the file system hangs."""
        self._stopping.set()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._watch.look()
        self._listener.close()
