"""Looks up processes in /proc that were not started by the test."""

import contextlib
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the child processes of all threads of a process.

    Does not use /proc/PID/task/*/children, because the file of a thread that ends disappears.
    """
    return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == pid]


def descendants(pid: int) -> list[int]:
    """Return all descendants of a process."""
    parents = {int(stat.parent.name): _parent(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def name_of(pid: int) -> str:
    """Return the name of a process's program; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, including a zombie that init has yet to reap."""
    with contextlib.suppress(OSError):
        return _state(Path(f"/proc/{pid}/stat"))[0] == "Z"
    return True


def is_stopped(pid: int) -> bool:
    """Return whether a process that was sent SIGSTOP runs no more: that is not done when kill(2) returns."""
    with contextlib.suppress(OSError):
        return all(_state(stat)[0] in "tTZ" for stat in Path(f"/proc/{pid}/task").glob("*/stat"))
    return False


def _parent(stat: Path) -> int | None:
    """Return a process's parent; None if it has just ended."""
    with contextlib.suppress(OSError):
        return int(_state(stat)[1])
    return None


def _state(stat: Path) -> list[str]:
    """Return proc(5)'s fields from the state on: the name before may contain spaces and brackets."""
    return stat.read_text().rpartition(") ")[2].split()
