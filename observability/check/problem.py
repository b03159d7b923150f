"""A problem, and how files are asked whether they will do."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from observability.errors import describe

OTHERS_MAY_READ, OTHERS_MAY_WRITE = 0o004, 0o002

May = Callable[[Path, int], bool]
"""Whether this user may do that with a file: access(2) with os.R_OK, W_OK, X_OK."""


class Problem(NamedTuple):
    """One thing to put right: the option, what it names, what is wrong with that, and what to do."""

    option: str
    subject: object
    wrong: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.option} {self.subject}: {self.wrong}; {self.remedy}"


def may(path: Path, mode: int) -> bool:
    """Ask the kernel for who runs this."""
    return os.access(path, mode, effective_ids=True)


def status_of(path: Path) -> os.stat_result | None:
    """Return what is at a path, links followed; None where nothing is. Other OSErrors are the caller's."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def file(option: str, path: Path | None, may: May) -> Iterator[Problem]:
    """Look at a file that is to be read."""
    if path is None:
        return
    try:
        status = status_of(path)
    except OSError as error:
        yield Problem(option, path, describe(error), "name a file that can be read")
        return
    if status is None:
        yield Problem(option, path, "there is no such file", "make it, or name another")
    elif not stat.S_ISREG(status.st_mode):
        yield Problem(option, path, "that is not a regular file", "name a file")
    elif not may(path, os.R_OK):
        yield Problem(
            option, path, "this user may not read it", "chgrp and chmod g+r it for the service's user"
        )


def secret(option: str, path: Path | None, may: May) -> Iterator[Problem]:
    """Look at a file that is to be read by nobody else."""
    found = list(file(option, path, may))
    yield from found
    if path and not found and path.stat().st_mode & OTHERS_MAY_READ:
        yield Problem(option, path, "everybody may read it, and it holds a secret", f"chmod o-rwx {path}")


def directory(option: str, path: Path, may: May, mode: int) -> Iterator[Problem]:
    """Look at a directory that is to be written to, and made with that mode where only it is missing."""
    make = f"make it: install -d -m {mode:04o} -o USER -g GROUP {path}"
    status = status_of(path)
    if status is None:
        if not path.parent.is_dir() or not may(path.parent, os.W_OK | os.X_OK):
            yield Problem(option, path, "there is no such directory, and this user cannot make it", make)
    elif not stat.S_ISDIR(status.st_mode):
        yield Problem(option, path, "that is not a directory", "move it away, or name another")
    elif not may(path, os.R_OK | os.W_OK | os.X_OK):
        yield Problem(
            option, path, "this user may not write there", f"chown it: {make.removeprefix('make it: ')}"
        )
    elif status.st_mode & OTHERS_MAY_WRITE and not status.st_mode & stat.S_ISVTX:
        yield Problem(option, path, "everybody may replace what is in it", f"chmod o-w {path}")
