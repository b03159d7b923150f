"""Threads beside a test: they run for as long as a context lasts, and none of them is left behind."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from socketserver import BaseServer
from types import TracebackType
from typing import Self

from tests.support.waiting import TIMEOUT

_LOOK_SECONDS = 0.05  # how often a server looks whether it is to end


class Background:
    """Each of the works runs in a thread of its own; once `over` is set it has to return.

    What a work raises fails the test: pytest sees to that.
    """

    def __init__(self, *works: Callable[[], object]) -> None:
        """Start nothing yet."""
        self.over = threading.Event()
        # Daemons: the run of the tests ends although one of them hangs.
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    def stop(self) -> None:
        """Tell them that it is over, and wait for their end."""
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
    """One work, done again and again in each of so many threads; pause: seconds before each turn."""

    def __init__(self, work: Callable[[], object], *, pause: float = 0.0, threads: int = 1) -> None:
        super().__init__(*[self._repeat] * threads)
        self._work, self._pause = work, pause

    def _repeat(self) -> None:
        while not self.over.wait(self._pause):
            self._work()


@contextmanager
def served(server: BaseServer) -> Iterator[None]:
    """Have a server serve; at the end of the context it is closed."""
    with server, Background(partial(server.serve_forever, _LOOK_SECONDS)):
        try:
            yield
        finally:
            server.shutdown()
