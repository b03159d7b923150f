"""What a service manager tells by signals: to stop, and to read certificates and credentials again.

Owns the handlers of SIGTERM, SIGINT and SIGHUP. A handler does next to nothing itself: the loop looks at a
descriptor, and files are read in a thread, for a file system may hang.
"""

import contextlib
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from observability.errors import UnusableError

_STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[int]:
    """Give a descriptor that is readable once SIGTERM or SIGINT came."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.settimeout(0)

        def stop(*_: object) -> None:
            with contextlib.suppress(OSError):  # told already, or over
                writing.send(b"\0")

        for number in _STOPPING:
            signal.signal(number, stop)
        yield reading.fileno()


def stopped(descriptor: int) -> Callable[[float], bool]:
    """Return what tells whether a descriptor has become readable, after so many seconds at most."""
    stop = select.poll()
    stop.register(descriptor, select.POLLIN)
    return lambda timeout: bool(stop.poll(timeout * 1000))


class Reload:
    """What is read again at each SIGHUP.

    parts: by name, what reads; UnusableError, where what was read before stays in use
    """

    def __init__(self, report: Callable[[str, str], None]) -> None:
        """Begin with no parts. report: takes the name of what was read, and what went wrong, if anything."""
        self.parts: dict[str, Callable[[], None]] = {}
        self._report = report
        signal.signal(signal.SIGHUP, self._begin)

    def _begin(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # no thread can be had just now: the sender may try again
            threading.Thread(target=self._run, name="reload", daemon=True).start()

    def _run(self) -> None:
        for name, read in self.parts.items():
            error = ""
            try:
                read()
            except UnusableError as caught:
                error = str(caught)
            self._report(name, error)
