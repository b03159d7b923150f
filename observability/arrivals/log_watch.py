"""Waits for changes in a directory by inotify(7), which the standard library lacks.

Without inotify, or if no watch can be added, it only sleeps; the caller then checks the files anyway.
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
    """Watches a log's directory until closed. stop: descriptor that ends each wait when readable."""

    def __init__(self, path: Path, stop: int) -> None:
        """Watch `path` or the directory it is in, which may be missing: each wait looks for it again."""
        self._path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(stop, select.POLLIN)
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLIN)

    def wait(self) -> None:
        """Wait for a change, for at most LOOK_SECONDS."""
        if self._fd < 0:
            self._poll.poll(LOOK_SECONDS * 1000)
            return
        # Not Path.is_dir(), which raises PermissionError if a directory above it may not be searched.
        directory = self._path if os.path.isdir(self._path) else self._path.parent
        # Added each time, because the directory may have been replaced; if not, this changes nothing.
        self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _CHANGES)
        self._poll.poll(LOOK_SECONDS * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, _EVENTS)

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            os.close(self._fd)
