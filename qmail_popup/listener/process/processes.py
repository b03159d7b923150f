"""Forking the listener's processes, each with only the descriptors it needs.

The child never returns into the parent's code, so nothing that the parent holds is closed, freed or written
twice.
"""

import gc
import os
import signal
from collections.abc import Callable, Collection
from typing import NoReturn

STANDARD = range(6)  # the network, stderr, a subprogram's descriptor 3, an unused one, the log
_FAILED = 1
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def fork(task: Callable[[], None], keep: Collection[int], failed: Callable[[BaseException], None]) -> int:
    """Run `task` in a child with the descriptors `keep`; return its pid. failed: called there on error."""
    pid = os.fork()
    if not pid:
        _live(task, keep, failed)
    return pid


def start(
    task: Callable[[], None], keep: Collection[int], failed: Callable[[BaseException], None]
) -> tuple[int, int]:
    """As fork(); return the child's pid and a pidfd(2). OSError, and there is no child."""
    pid = fork(task, keep, failed)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _live(
    task: Callable[[], None], keep: Collection[int], failed: Callable[[BaseException], None]
) -> NoReturn:
    status = _FAILED
    try:
        gc.disable()  # there are no reference cycles, and a collection over ten thousand connections is slow
        hold_signals()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        close_others(keep)
        task()
        status = 0
    except BaseException as error:  # noqa: BLE001  the boundary of this process
        failed(error)
    finally:
        os._exit(status)


def hold_signals() -> None:
    """Survive the signals with which a service manager or terminal stops the supervisor, to finish sessions.

    Installs handlers, because subprograms would inherit SIG_IGN. A signal that was ignored stays ignored.
    """
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda _signal, _frame: None)


def close_others(keep: Collection[int]) -> None:
    """Close all descriptors except `keep`; those below 6, which have fixed meanings, become /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in STANDARD:
        if fd not in keep and fd != null:
            os.dup2(null, fd, inheritable=False)
    start = STANDARD.stop
    for fd in sorted(fd for fd in keep if fd >= start):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
