"""What the kernel tells of processes that were not started here."""

import contextlib
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the processes whose parent this is, whichever of its threads has started them.

    Not from /proc/PID/task/*/children: a thread that ends meanwhile takes its file with it.
    """
    return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == pid]


def descendants(pid: int) -> list[int]:
    """Return the children, and theirs, and so on."""
    parents = {int(stat.parent.name): _parent(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def name_of(pid: int) -> str:
    """Return the name of a process's program; empty where it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def is_gone(pid: int) -> bool:
    """Whether a process has ended (one whose parent was killed first may wait for init to see it)."""
    with contextlib.suppress(OSError):
        return _state(Path(f"/proc/{pid}/stat"))[0] == "Z"
    return True


def _parent(stat: Path) -> int | None:
    """Return a process's parent; None where it has ended while we looked."""
    with contextlib.suppress(OSError):
        return int(_state(stat)[1])
    return None


def _state(stat: Path) -> list[str]:
    """Return proc(5)'s fields from the state on: the name before them may hold spaces and brackets."""
    return stat.read_text().rpartition(") ")[2].split()
