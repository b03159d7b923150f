"""What a process of the listener may do: limits, and what a worker gives up before it reads from strangers.

ctypes is loaded here, before anything is given up: afterwards a worker has no path, and may not start a
thread.
"""

import contextlib
import ctypes
import os
import pwd
import resource
from collections.abc import Iterator

_SET_DUMPABLE, _SET_NAME, _SET_NO_NEW_PRIVS = 4, 15, 38  # linux/prctl.h
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def raise_open_files() -> tuple[int, int]:
    """Raise the number of descriptors as far as it goes; the limits as they were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


@contextlib.contextmanager
def open_files(limits: tuple[int, int]) -> Iterator[None]:
    """Have other limits of descriptors for a while."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def give_up(user: pwd.struct_passwd | None) -> None:
    """Become `user`, where there is one, without groups; write no file, and what `confine` forbids."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if user:
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    confine()


def confine() -> None:
    """Start no process, leave no core, gain nothing by executing a file, and be traced by nobody."""
    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    _control(_SET_NO_NEW_PRIVS, 1)
    _control(_SET_DUMPABLE, 0)


def name_process(name: bytes) -> None:
    """Have ps(1) show which of the processes this is."""
    with contextlib.suppress(OSError):
        _control(_SET_NAME, name)


def _control(option: int, value: int | bytes) -> None:
    if _prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")
