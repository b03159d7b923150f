"""Waits until something changes in a directory: inotify(7), which the standard library has not got.

Where there is none, or no watch can be had, it only lets time pass: whoever waits looks again after that.
"""

import contextlib
import ctypes
import os
import select
from pathlib import Path

LOOK_SECONDS = 1.0
# IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE and IN_DELETE_SELF of <sys/inotify.h>
_CHANGES = 0x2 | 0x40 | 0x80 | 0x100 | 0x400
_EVENTS = 65536  # bytes


class Watch:
    """Changes in the directory of a log, until it is closed; `stop` is a descriptor that ends every wait."""

    def __init__(self, path: Path, stop: int) -> None:
        """Watch path, or what it stands in; that may be missing, and is looked for at each wait."""
        self._path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(stop, select.POLLIN)
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLIN)

    def wait(self) -> None:
        """Return once something has changed, or LOOK_SECONDS have passed."""
        if self._fd < 0:
            self._poll.poll(LOOK_SECONDS * 1000)
            return
        directory = self._path if self._path.is_dir() else self._path.parent
        # Watched again each time: the directory may have been replaced. If it was not, it is the same watch.
        self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _CHANGES)
        self._poll.poll(LOOK_SECONDS * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, _EVENTS)

    def close(self) -> None:
        """Watch no more."""
        if self._fd >= 0:
            os.close(self._fd)
