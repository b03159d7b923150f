"""Reloading: SIGHUP makes of this process what it would be if it were started now.

A trial comes first, so whatever could not start changes nothing and is one line. The next generation begins
with what `handover` carries over; the one before ends when its control sockets do, which is once all children
of the next one serve. A SIGHUP that comes during a trial asks for another one: files may have changed behind
the first.
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
    """Where this process is between two generations."""

    def __init__(self, former: Handover | None, tell: notify.Notify) -> None:
        """former: what the generation before has left; tell: takes what the service manager is to know."""
        self._former = [*former.controls] if former else []
        self._tell = tell
        self._trial: Trial | None = None
        self._is_asked = False

    def ask(self) -> None:
        """Reload as soon as that can be."""
        self._is_asked = True

    def due(self) -> float | None:
        """Return when `turn` has something to do that no signal tells of."""
        return self._trial.due if self._trial else None

    def turn(self) -> None:
        """Begin a trial that is asked for; end one that takes too long."""
        if self._trial:
            if self._trial.due is not None and self._trial.due <= time.monotonic():
                self._trial.kill()
        elif self._is_asked:
            self._is_asked = False
            self._begin()

    def ended(self, pid: int, status: int, execute: Callable[[Sequence[socket]], OSError]) -> bool:
        """Take the end of a process; False where it was no trial. execute: hands over what it is given."""
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
        """The control sockets of the generation before, of those who may still take connections."""
        return self._former

    def retire(self) -> bool:
        """Have the generation before take no more connections; whether it has heard of that."""
        for control in self._former:
            with suppress(OSError):
                control.shutdown(SHUT_WR)
        self._former = [control for control in self._former if not _has_ended(control)]
        return not self._former

    def is_over(self) -> None:
        """Tell that this generation serves, and no other; why an earlier reload failed matters no more."""
        self._tell(f"{notify.READY}\n{notify.status('')}")

    def cancel(self) -> None:
        """End what is under way: this process ends."""
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
        complain(f"not reloaded, everything stays as it was: {why}")
        self._tell(f"{notify.READY}\n{notify.status(f'Not reloaded: {why}')}")


def _has_ended(control: socket) -> bool:
    """Whether the other end is closed; then close this one."""
    try:
        if control.recv(MAX_WORDS, MSG_DONTWAIT):
            return False
    except BlockingIOError:
        return False
    except OSError:
        pass
    control.close()
    return True
