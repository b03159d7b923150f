"""Finds a log's files by the naming schemes of multilog, svlogd, s6-log and logrotate.

Reads directories, opens no files. May raise OSError.
"""

import errno
import os
import re
import stat
from pathlib import Path

_MAX_NAMES = 10_000  # files of one log; if there are more, the newest are read
CURRENT = "current"
_COMPRESSED = (".gz", ".xz", ".bz2", ".zst", ".lz4")
# In a directory of multilog, svlogd or s6-log: labelled files, then the one being rotated, then the current.
_LABELLED = re.compile(r"@[0-9a-f]{16,}.*|\d{4}-?\d\d-?\d\d.*").fullmatch
_RANKS = {"previous": 1, CURRENT: 2}
# Next to a file rotated by logrotate: log.1, log.2, or log-20261127.
_ROTATED = re.compile(r"[.-]\d+(?:[.-]\d+)*").fullmatch


def paths(log: Path) -> list[Path]:
    """List a log's files, oldest first."""
    mode = _mode(log)
    if mode is None or stat.S_ISREG(mode):
        return _beside(log)
    if stat.S_ISDIR(mode):
        return _in_directory(log)
    raise OSError(errno.EINVAL, "neither a directory nor a file")


def _in_directory(directory: Path) -> list[Path]:
    names = [name for name in os.listdir(directory) if name in _RANKS or _LABELLED(name)]
    names.sort(key=lambda name: (_RANKS.get(name, 0), name))
    return [path for path in (directory / name for name in names[-_MAX_NAMES:]) if _is_file(path)]


def _beside(path: Path) -> list[Path]:
    """List rotated files of `path`, by modification time, then `path` itself."""
    here = len(path.name)
    others = os.listdir(path.parent) if path.parent.is_dir() else []
    names = [name for name in others if name.startswith(path.name) and _ROTATED(name[here:])]
    rotated = [other for other in (path.with_name(name) for name in names) if _is_file(other)]
    rotated.sort(key=lambda other: (other.stat().st_mtime_ns, other.name))
    return [*rotated[-_MAX_NAMES:], *([path] if _is_file(path) else [])]


def _is_file(path: Path) -> bool:
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode) and path.suffix not in _COMPRESSED


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:  # renamed meanwhile
        return None
