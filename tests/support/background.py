"""Background threads for tests: they run while a context lasts, and end with it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from socketserver import BaseServer
from types import TracebackType
from typing import Self

from tests.support.waiting import TIMEOUT

_LOOK_SECONDS = 0.05  # interval at which a server checks for its shutdown


class Background:
    """Runs each function in its own thread; it must return once `over` is set.

    An exception in a thread fails the test: pytest reports it.
    """

    def __init__(self, *works: Callable[[], object]) -> None:
        """Prepare the threads; entering the context starts them."""
        self.over = threading.Event()
        # Daemon threads, so that a hung one does not keep the test run from ending.
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    def stop(self) -> None:
        """Set `over`, and wait for the threads to end."""
        self.over.set()
        for thread in self._threads:
            thread.join(TIMEOUT)
        assert not any(thread.is_alive() for thread in self._threads), "a thread did not end"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()


class Repeated(Background):
    """Repeats a function in each of several threads. pause: seconds before each call."""

    def __init__(self, work: Callable[[], object], *, pause: float = 0.0, threads: int = 1) -> None:
        super().__init__(*[self._repeat] * threads)
        self._work, self._pause = work, pause

    def _repeat(self) -> None:
        while not self.over.wait(self._pause):
            self._work()


@contextmanager
def served(server: BaseServer) -> Iterator[None]:
    """Run a server in a thread; close it at the end of the context."""
    with server, Background(partial(server.serve_forever, _LOOK_SECONDS)):
        try:
            yield
        finally:
            server.shutdown()
