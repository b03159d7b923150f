"""A thread for file system access, which may hang, in a process whose loop must not block."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from qmail_popup.listener.process.loop import Loop

_Found = TypeVar("_Found")


class Looker(Generic[_Found]):
    """Runs a function on request and reports to the loop. One request at a time: wait for the result."""

    def __init__(self, loop: Loop, look: Callable[[], _Found], found: Callable[[_Found], None]) -> None:
        """Start the thread. look: called in the thread; found: called by the loop with its result."""
        self._look, self._found = look, found
        self._asked, self._woken = os.eventfd(0, os.EFD_CLOEXEC), os.eventfd(0, os.EFD_CLOEXEC)
        self._result: _Found | BaseException
        loop.watch(self._woken, self)
        threading.Thread(target=self._run, daemon=True).start()

    def ask(self) -> None:
        """Request a run of `look`."""
        os.eventfd_write(self._asked, 1)

    def ready(self, _events: int) -> None:
        """Pass on the result; raises if the thread failed, which ends the process."""
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
