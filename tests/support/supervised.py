"""A process whose descendants end with it, however it ends; everything that tests start descends from one.

It becomes three processes. The first keeps the pid known to its parent, which may kill it, and only waits.
The last does the work. Between them a supervisor adopts orphaned descendants (it is a subreaper, see
prctl(2)), and kills all descendants when the first or the last has ended.
"""

import ctypes
import os
import signal
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from tests.support.processes import descendants
from tests.support.waiting import eventually

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
# A terminal sends these to all three processes; only the one that does the work reacts.
_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class _EndedError(Exception):
    """SIGTERM: the first process has ended, or this one has been asked to."""


def supervise() -> None:
    """Return in a different process, with no signal ignored; see above."""
    survives_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, exit statuses would be lost
    first = os.getpid()
    if supervisor := os.fork():
        _wait(supervisor, interruptible=survives_terminal)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, _end)
    _follow(first, signal.SIGTERM)
    supervisor = os.getpid()
    if worker := os.fork():
        _supervise(worker)
    _follow(supervisor, signal.SIGKILL)
    if survives_terminal:  # nohup: the terminal's signals are not for us
        os.setsid()
    default_signals()


def default_signals() -> None:
    """Restore signals that a shell or nohup ignores: programs started by tests must not inherit that."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # ignored by Python itself
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _wait(supervisor: int, *, interruptible: bool) -> NoReturn:
    """Run as the first process: pass SIGTERM on, and exit with the worker's status."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(supervisor, signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_DFL if interruptible else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _, status = os.waitpid(supervisor, 0)
    os._exit(_shell_status(status))


def _supervise(worker: int) -> NoReturn:
    """Run as the supervisor until the worker has ended or SIGTERM arrives; then kill all descendants."""
    status = 128 + signal.SIGTERM
    with suppress(_EndedError):
        for number in _TERMINAL:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        while (ended := os.wait())[0] != worker:
            pass
        status = _shell_status(ended[1])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    eventually(_is_alone)
    os._exit(status)


def _is_alone() -> bool:
    """Kill all descendants; return whether there were none."""
    for pid in descendants(os.getpid()):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return False
    return True


def _follow(parent: int, number: signal.Signals) -> None:
    """Arrange for a signal when the parent ends, even if it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _EndedError


def _shell_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
