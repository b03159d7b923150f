"""A problem, and the checks that all files and directories share."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from observability.errors import describe

OTHERS_MAY_READ, OTHERS_MAY_WRITE = 0o004, 0o002

May = Callable[[Path, int], bool]
"""Whether this user may access a file, as access(2) with os.R_OK, W_OK or X_OK."""


class Problem(NamedTuple):
    """One problem: the option, its value, what is wrong with it, and how to fix that."""

    option: str
    subject: object
    wrong: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.option} {self.subject}: {self.wrong}; {self.remedy}"


def may(path: Path, mode: int) -> bool:
    """Ask the kernel, for the current user."""
    return os.access(path, mode, effective_ids=True)


def status_of(path: Path) -> os.stat_result | None:
    """Return the status of a path, following links; None if nothing is there. Other OSErrors propagate."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def file(option: str, path: Path | None, may: May) -> Iterator[Problem]:
    """Check a file to be read."""
    if path is None:
        return
    try:
        status = status_of(path)
    except OSError as error:
        yield Problem(option, path, describe(error), "name a file that can be read")
        return
    if status is None:
        yield Problem(option, path, "no such file", "create it, or name another")
    elif not stat.S_ISREG(status.st_mode):
        yield Problem(option, path, "not a regular file", "name a file")
    elif not may(path, os.R_OK):
        yield Problem(
            option, path, "this user may not read it", "chgrp and chmod g+r it for the service's user"
        )


def secret(option: str, path: Path | None, may: May) -> Iterator[Problem]:
    """Check a file that nobody else may read."""
    found = list(file(option, path, may))
    yield from found
    if path and not found and path.stat().st_mode & OTHERS_MAY_READ:
        yield Problem(option, path, "everybody can read it, and it contains a secret", f"chmod o-rwx {path}")


def directory(option: str, path: Path, may: May, mode: int) -> Iterator[Problem]:
    """Check a directory to write to, which the sidecar makes with this mode if only it is missing."""
    make = f"create it: install -d -m {mode:04o} -o USER -g GROUP {path}"
    status = status_of(path)
    if status is None:
        if not path.parent.is_dir() or not may(path.parent, os.W_OK | os.X_OK):
            yield Problem(option, path, "no such directory, and this user cannot create it", make)
    elif not stat.S_ISDIR(status.st_mode):
        yield Problem(option, path, "not a directory", "move it away, or name another")
    elif not may(path, os.R_OK | os.W_OK | os.X_OK):
        yield Problem(
            option, path, "this user may not write there", f"chown it: {make.removeprefix('create it: ')}"
        )
    elif status.st_mode & OTHERS_MAY_WRITE and not status.st_mode & stat.S_ISVTX:
        yield Problem(option, path, "everybody can replace its files", f"chmod o-w {path}")
