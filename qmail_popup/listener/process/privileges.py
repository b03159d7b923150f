"""Resource limits, and the privileges that a worker drops before it reads from the network.

ctypes is imported here, before any privilege is dropped: afterwards a worker may be unable to read the
library, and cannot start a thread.
"""

import contextlib
import ctypes
import functools
import os
import pwd
import resource
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_SET_DUMPABLE, _SET_NAME, _SET_NO_NEW_PRIVS = 4, 15, 38  # linux/prctl.h
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def raise_open_files() -> tuple[int, int]:
    """Raise the descriptor limit to its maximum; return the former limits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


@contextlib.contextmanager
def open_files(limits: tuple[int, int]) -> Iterator[None]:
    """Set other descriptor limits for the duration of the block."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def spawning(limits: tuple[int, int]) -> Callable[..., int]:
    """Return os.posix_spawnp, or one whose processes have these descriptor limits.

    They have them from their start, unless a descriptor that they inherit is beyond them: posix_spawn(3)
    refuses that, so then they get their limits right after their start.
    """
    if limits == resource.getrlimit(resource.RLIMIT_NOFILE):
        return os.posix_spawnp

    def spawn(*arguments: Any, file_actions: Sequence[tuple[int, ...]] = (), **options: Any) -> int:  # noqa: ANN401  those of os.posix_spawnp
        start = functools.partial(os.posix_spawnp, *arguments, file_actions=file_actions, **options)
        if max((fd for _action, *fds in file_actions for fd in fds), default=0) < limits[0]:
            with open_files(limits):
                return start()
        pid = start()
        with contextlib.suppress(OSError):  # it has exited already
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        return pid

    return spawn


def give_up(user: pwd.struct_passwd | None) -> None:
    """Switch to `user`, if any, without groups; forbid writing files and all that `confine` forbids."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if user:
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    confine()


def confine() -> None:
    """Forbid new processes, core dumps, gaining privileges by execve(2), and ptrace(2)."""
    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    _control(_SET_NO_NEW_PRIVS, 1)
    _control(_SET_DUMPABLE, 0)


def name_process(name: bytes) -> None:
    """Set the process name that ps(1) shows."""
    with contextlib.suppress(OSError):
        _control(_SET_NAME, name)


def _control(option: int, value: int | bytes) -> None:
    if _prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")
