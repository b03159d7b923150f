"""The thread that looks: once for each time it is asked, and where it fails, so does its process."""

import threading
from collections.abc import Iterator

import pytest

from qmail_popup.listener.process.loop import Loop
from qmail_popup.listener.rules.background import Background


class Look:
    """A look that takes as long as a test wants."""

    def __init__(self) -> None:
        self.may, self.finds = threading.Semaphore(0), iter(range(100))

    def __call__(self) -> int:
        """Look, once that may be."""
        self.may.acquire()
        return next(self.finds)


@pytest.fixture
def look() -> Iterator[Look]:
    """Return one, which ends with the test."""
    made = Look()
    yield made
    made.may.release(1000)


def test_what_it_has_found(look: Look) -> None:
    """It is told to the loop, once for each time that it was asked."""
    loop, found = Loop(), list[int]()
    background = Background(loop, look, found.append)
    for expected in ([0], [0, 1]):
        background.run()
        look.may.release()
        loop.turn()
        assert expected == found


def test_a_look_that_fails() -> None:
    """Its error is the process's."""
    loop = Loop()
    background: Background[int] = Background(loop, lambda: 1 // 0, lambda _: None)
    background.run()
    with pytest.raises(ZeroDivisionError):
        loop.turn()
