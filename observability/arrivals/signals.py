"""Handlers of SIGTERM and SIGINT, which stop, and of SIGHUP, which rereads certificates and credentials.

The handlers do as little as possible: the loop polls a descriptor, and files are read in a thread, because a
file system may hang.
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
    """Yield a descriptor that becomes readable on SIGTERM or SIGINT."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.settimeout(0)

        def stop(*_: object) -> None:
            with contextlib.suppress(OSError):  # signalled already, or closed
                writing.send(b"\0")

        for number in _STOPPING:
            signal.signal(number, stop)
        yield reading.fileno()


def stopped(descriptor: int) -> Callable[[float], bool]:
    """Return a function that waits up to so many seconds and returns whether `descriptor` is readable."""
    stop = select.poll()
    stop.register(descriptor, select.POLLIN)
    return lambda timeout: bool(stop.poll(timeout * 1000))


class Reload:
    """Rereads files on SIGHUP.

    parts: functions that read a file, by name; on UnusableError the earlier contents stay in use
    """

    def __init__(self, report: Callable[[str, str], None]) -> None:
        """Install the handler. report: called with the name of each part and its error, if any."""
        self.parts: dict[str, Callable[[], None]] = {}
        self._report = report
        signal.signal(signal.SIGHUP, self._begin)

    def _begin(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # cannot start a thread now: the sender may try again
            threading.Thread(target=self._run, name="reload", daemon=True).start()

    def _run(self) -> None:
        for name, read in self.parts.items():
            error = ""
            try:
                read()
            except UnusableError as caught:
                error = str(caught)
            self._report(name, error)
