"""Reloading: on SIGHUP the process executes itself, as if it were started now.

A trial comes first, so a configuration that cannot start changes nothing and is logged in one line. The next
generation starts with what `handover` passes on. Once its children are ready, it shuts down the control
sockets of the previous generation, which then ends. A SIGHUP during a trial starts another one, because files
may have changed after they were checked.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from socket import MSG_DONTWAIT, SHUT_WR, socket

from qmail_popup.listener.ipc.control import MAX_WORDS
from qmail_popup.listener.options import complain
from qmail_popup.listener.supervisor import notify
from qmail_popup.listener.supervisor.handover import Handover
from qmail_popup.listener.supervisor.trial import Trial


class Reload:
    """The state of a reload."""

    def __init__(self, former: Handover | None, tell: notify.Notify) -> None:
        """former: from the previous generation; tell: sends a state to the service manager."""
        self._former = [*former.controls] if former else []
        self._tell = tell
        self._trial: Trial | None = None
        self._is_asked = False

    def ask(self) -> None:
        """Request a reload."""
        self._is_asked = True

    def due(self) -> float | None:
        """Return when `turn` must be called even without a signal."""
        return self._trial.due if self._trial else None

    def turn(self) -> None:
        """Start a requested trial; kill one that takes too long."""
        if self._trial:
            if self._trial.due is not None and self._trial.due <= time.monotonic():
                self._trial.kill()
        elif self._is_asked:
            self._is_asked = False
            self._begin()

    def ended(self, pid: int, status: int, execute: Callable[[Sequence[socket]], OSError]) -> bool:
        """Handle the end of a process; False if it was not the trial. execute: hands over these sockets."""
        trial = self._trial
        if not trial or pid != trial.pid:
            return False
        self._trial = None
        if why := trial.ended(status):
            self._refuse(why)
        elif not self._is_asked:
            self._refuse(f"cannot execute {sys.executable}: {execute(self._former).strerror}")
        return True

    @property
    def former(self) -> Sequence[socket]:
        """Control sockets of the previous generation's children that may still accept connections."""
        return self._former

    def retire(self) -> bool:
        """Tell the previous generation to accept no more connections; return whether all have confirmed."""
        for control in self._former:
            with suppress(OSError):
                control.shutdown(SHUT_WR)
        self._former = [control for control in self._former if not _has_ended(control)]
        return not self._former

    def is_over(self) -> None:
        """Report that only this generation serves; clears the error of an earlier reload."""
        self._tell(f"{notify.READY}\n{notify.status('')}")

    def cancel(self) -> None:
        """Kill a trial in progress, because this process is stopping."""
        self._tell(notify.STOPPING)
        if self._trial:
            self._trial.kill()

    def _begin(self) -> None:
        self._tell(notify.reloading())
        try:
            self._trial = Trial()
        except OSError as error:
            self._refuse(f"cannot execute {sys.executable}: {error.strerror}")

    def _refuse(self, why: str) -> None:
        complain(f"not reloaded, nothing has changed: {why}")
        self._tell(f"{notify.READY}\n{notify.status(f'Not reloaded: {why}')}")


def _has_ended(control: socket) -> bool:
    """Return whether the other end is closed; if so, close this one."""
    try:
        if control.recv(MAX_WORDS, MSG_DONTWAIT):
            return False
    except BlockingIOError:
        return False
    except OSError:
        pass
    control.close()
    return True
