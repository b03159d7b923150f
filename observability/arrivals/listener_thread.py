"""The path of the socket, looked after in a thread of its own: a file system that hangs stops no counting.

Owns the rhythm. What has to be made again is made here; the loop takes the new socket when it is there, and
serves who is connected to the old one meanwhile.
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
        """Begin. report: takes what became of the path, as Watch tells it; interval: seconds."""
        self._listener, self._interval = listener, interval
        self._made: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._watch = Watch({"socket": partial(listener.keep, self._made.put)}, report)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="socket", daemon=True)
        self._thread.start()

    def hand_over(self, move: Callable[[socket.socket], None]) -> None:
        """Give `move` the socket that was made since, if any was."""
        while not self._made.empty():
            move(self._made.get())

    def close(self) -> None:
        """Take the socket away, if that does not take long."""
        self._stopping.set()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._watch.look()
        self._listener.close()
