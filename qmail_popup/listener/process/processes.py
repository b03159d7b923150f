"""How a process of the listener is forked: with the descriptors that it is to have, and no others.

The function that is run never returns into what its parent was doing, so nothing that the parent holds is
closed, freed or written twice.
"""

import gc
import os
import signal
from collections.abc import Callable, Collection
from typing import NoReturn

STANDARD = range(6)  # the network, stderr, a subprogram's descriptor 3, one that is nobody's, the log
_FAILED = 1
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def fork(task: Callable[[], None], keep: Collection[int], failed: Callable[[BaseException], None]) -> int:
    """Run `task` in a child with the descriptors `keep`; its pid. failed: called there where it fails."""
    pid = os.fork()
    if not pid:
        _live(task, keep, failed)
    return pid


def _live(
    task: Callable[[], None], keep: Collection[int], failed: Callable[[BaseException], None]
) -> NoReturn:
    status = _FAILED
    try:
        gc.disable()  # nothing in here is in circles, and a look at ten thousand connections takes a while
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
    """Go on where a service manager, or a terminal, ends the supervisor: the last session is still to end.

    A handler, because an ignored signal would stay ignored in a subprogram; one that was ignored stays so.
    """
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda _signal, _frame: None)


def close_others(keep: Collection[int]) -> None:
    """Close all descriptors but `keep`; those below 6, which have a meaning, are /dev/null then."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in STANDARD:
        if fd not in keep and fd != null:
            os.dup2(null, fd, inheritable=False)
    start = STANDARD.stop
    for fd in sorted(fd for fd in keep if fd >= start):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
