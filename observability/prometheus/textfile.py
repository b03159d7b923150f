"""The metrics as a file for node_exporter's textfile collector.

Owns the file: replaced as a whole, so that nobody reads a half of it, and nothing but a regular file of ours
is ever replaced. It has a thread of its own: a file system that hangs holds up nothing but the file.
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
_READABLE = 0o644  # node_exporter is another user
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Textfile:
    """One file."""

    def __init__(self, path: Path, text: Callable[[], bytes]) -> None:
        """Name it; UnusableError where something else stands there. text: makes what stands in it."""
        self._path, self._text = path, text
        self._aside = path.with_name(f"{path.name}.new")  # which node_exporter leaves alone
        try:
            self._check()
        except OSError as error:
            raise UnusableError(f"cannot use --textfile {path}: {error.strerror}") from error

    def write(self) -> None:
        """Replace it; OSError where that cannot be, and whatever making its text may raise."""
        text = self._text()
        self._check()
        # The directory may be others' too: nothing that lies there is followed or written to.
        self._aside.unlink(missing_ok=True)
        with open(os.open(self._aside, _NEW, _READABLE), "wb") as file:
            os.fchmod(file.fileno(), _READABLE)  # whatever the umask
            file.write(text)
        self._aside.rename(self._path)

    @property
    def has_directory(self) -> bool:
        """Whether there is a directory to write it to."""
        return self._path.parent.is_dir()

    def _check(self) -> None:
        """See that nothing or a regular file stands at the path."""
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode):
            raise FileExistsError(None, "It is not a regular file", str(self._path))


class TextfileThread:
    """The thread that writes the file at every interval, from its start to close()."""

    def __init__(self, textfile: Textfile, interval: float, report: Callable[[Report], None]) -> None:
        """Begin. interval: seconds; report: takes what became of each write."""
        self._textfile, self._interval, self._report = textfile, interval, report
        self._had_directory = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="textfile", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write once more, if that does not take long."""
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
        except Exception as caught:  # noqa: BLE001  the boundary: the next write may well succeed
            error = f"cannot write the textfile: {describe(caught)}"
        increments: dict[Series, float] = {(TEXTFILE_WRITES.name, "failed" if error else "ok"): 1}
        if self._is_directory_lost():
            increments[PATHS_LOST.name, "textfile"] = 1
        self._report(Report("textfile", error, increments))

    def _is_directory_lost(self) -> bool:
        """Whether the directory has been there, and is not any more since this write."""
        had, self._had_directory = self._had_directory, self._textfile.has_directory
        return had and not self._had_directory
