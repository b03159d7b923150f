"""The metrics as a file for node_exporter's textfile collector.

Owns the file: it is replaced as a whole, so that no reader sees a part of it, and only if it is a regular
file. Has its own thread: a file system that hangs delays nothing but the file.
"""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from observability.errors import UnusableError, describe
from observability.log.reports import Report
from observability.store.families import PATHS_LOST, TEXTFILE_WRITES, Series

_LAST_TIMEOUT = 1.0
_READABLE = 0o644  # node_exporter runs as another user
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Textfile:
    """One file."""

    def __init__(self, path: Path, text: Callable[[], bytes]) -> None:
        """UnusableError if the path is something other than a regular file. text: makes the contents."""
        self._path, self._text = path, text
        self._aside = path.with_name(f"{path.name}.new")  # node_exporter ignores this name
        try:
            self._check()
        except OSError as error:
            raise UnusableError(f"cannot use --textfile {path}: {error.strerror}") from error

    def write(self) -> None:
        """Replace the file; raises OSError, and whatever making the text raises."""
        text = self._text()
        self._check()
        # Others may write to the directory: follow no link, and write to no existing file.
        self._aside.unlink(missing_ok=True)
        with open(os.open(self._aside, _NEW, _READABLE), "wb") as file:
            os.fchmod(file.fileno(), _READABLE)  # regardless of the umask
            file.write(text)
        self._aside.rename(self._path)

    @property
    def has_directory(self) -> bool:
        """Whether the file's directory exists."""
        return os.path.isdir(self._path.parent)  # Path.is_dir() raises PermissionError

    def _check(self) -> None:
        """Check that the path is free or a regular file."""
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode):
            raise FileExistsError(None, "not a regular file", str(self._path))


class TextfileThread:
    """The thread that writes the file at every interval, from its start to close()."""

    def __init__(self, textfile: Textfile, interval: float, report: Callable[[Report], None]) -> None:
        """Start. interval: seconds; report: receives the result of each write."""
        self._textfile, self._interval, self._report = textfile, interval, report
        self._had_directory = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="textfile", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write once more, unless that takes long."""
        self._stopping.set()
        self._thread.join(_LAST_TIMEOUT)

    def _run(self) -> None:
        self._write()
        while not self._stopping.wait(self._interval):
            self._write()
        self._write()

    def _write(self) -> None:
        error = ""
        try:
            self._textfile.write()
        except Exception as caught:  # noqa: BLE001  the boundary: the next write may succeed
            error = f"cannot write the textfile: {describe(caught)}"
        increments: dict[Series, float] = {(TEXTFILE_WRITES.name, "failed" if error else "ok"): 1}
        if self._is_directory_lost():
            increments[PATHS_LOST.name, "textfile"] = 1
        self._report(Report("textfile", error, increments))

    def _is_directory_lost(self) -> bool:
        """Whether the directory existed before, but no longer does."""
        had, self._had_directory = self._had_directory, self._textfile.has_directory
        return had and not self._had_directory
