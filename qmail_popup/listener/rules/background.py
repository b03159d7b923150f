"""A thread for file system access, which may hang, in a process whose loop must not block."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from qmail_popup.listener.process.loop import Loop

_Result = TypeVar("_Result")


class Background(Generic[_Result]):
    """Runs a function on request and reports to the loop. One request at a time: wait for the result."""

    def __init__(self, loop: Loop, function: Callable[[], _Result], done: Callable[[_Result], None]) -> None:
        """Start the thread. function: called in the thread; done: called by the loop with its result."""
        self._function, self._done = function, done
        self._requested, self._woken = os.eventfd(0, os.EFD_CLOEXEC), os.eventfd(0, os.EFD_CLOEXEC)
        self._result: _Result | BaseException
        loop.watch(self._woken, self)
        threading.Thread(target=self._run, daemon=True).start()

    def run(self) -> None:
        """Request a run of `function`."""
        os.eventfd_write(self._requested, 1)

    def ready(self, _events: int) -> None:
        """Pass on the result; raises if the thread failed, which ends the process."""
        os.eventfd_read(self._woken)
        if isinstance(self._result, BaseException):
            raise self._result
        self._done(self._result)

    def _run(self) -> None:
        while True:
            os.eventfd_read(self._requested)
            try:
                self._result = self._function()
            except BaseException as error:  # noqa: BLE001  the boundary of this thread
                self._result = error
            os.eventfd_write(self._woken, 1)
