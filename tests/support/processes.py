"""Looks up processes in /proc that were not started by the test."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the child processes of all threads of a process.

    Does not use /proc/PID/task/*/children, because the file of a thread that ends disappears.
    """
    return [child for child, parent in _parents().items() if parent == pid]


def descendants(*pids: int) -> list[int]:
    """Return all descendants of processes."""
    parents = _parents()
    found = [*pids]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[len(pids) :]


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


def opened(pid: int) -> dict[int, str]:
    """Return what each descriptor of a process is open on; one that it closes meanwhile may be missing."""
    links = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            links[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return links


def contents(name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the pid of each process, and a file of its directory in /proc.

    Tests of servers ask for this again and again, and there are hundreds of processes: hence no pathlib.
    """
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has just ended
            yield int(pid), _content(f"/proc/{pid}/{name}")


def _content(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(file, 65536), b""))
    finally:
        os.close(file)


def _parents() -> dict[int, int]:
    """Return the parent of each process."""
    return {pid: int(stat.rpartition(b") ")[2].split(None, 2)[1]) for pid, stat in contents("stat")}


def _state(stat: Path) -> list[str]:
    """Return proc(5)'s fields from the state on: the name before may contain spaces and brackets."""
    return stat.read_text().rpartition(") ")[2].split()
