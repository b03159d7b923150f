"""A thread for what may take as long as a file system likes, in a process whose loop must not wait for it."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from qmail_popup.listener.process.loop import Loop

_Found = TypeVar("_Found")


class Looker(Generic[_Found]):
    """It looks when it is asked, and tells the loop. One look at a time: ask again once it has told."""

    def __init__(self, loop: Loop, look: Callable[[], _Found], found: Callable[[_Found], None]) -> None:
        """Start it. look: called by the thread; found: called by the loop, with what was found."""
        self._look, self._found = look, found
        self._asked, self._woken = os.eventfd(0, os.EFD_CLOEXEC), os.eventfd(0, os.EFD_CLOEXEC)
        self._result: _Found | BaseException
        loop.watch(self._woken, self)
        threading.Thread(target=self._run, daemon=True).start()

    def ask(self) -> None:
        """Have it look."""
        os.eventfd_write(self._asked, 1)

    def ready(self, _events: int) -> None:
        """Take what it has found; where it failed, so does the process."""
        os.eventfd_read(self._woken)
        if isinstance(self._result, BaseException):
            raise self._result
        self._found(self._result)

    def _run(self) -> None:
        while True:
            os.eventfd_read(self._asked)
            try:
                self._result = self._look()
            except BaseException as error:  # noqa: BLE001  the boundary of this thread
                self._result = error
            os.eventfd_write(self._woken, 1)
