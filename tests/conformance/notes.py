"""What the subprogram of a vector saw; `probe` notes it, in files that begin with one name."""

import os
from pathlib import Path
from typing import NamedTuple


class Notes(NamedTuple):
    """Bytes as latin-1, the arguments as Python has them."""

    argv: list[str]
    fd3: str
    fds: list[int]
    rest: str
    ignored: int
    blocked: int
    env: list[str]


def read(path: Path) -> Notes | None:
    """Return the notes at `path`; None where the probe did not run."""
    if not path.exists():
        return None
    fds, signals = _text(path, "process").splitlines()
    ignored, blocked = signals.split()
    return Notes(
        argv=os.fsdecode(_noted(path, "argv")).split("\0")[1:-1],  # behind their number
        fd3=_text(path, "fd3"),
        fds=sorted(map(int, fds.split())),
        rest=_text(path, "rest"),
        ignored=int(ignored, 16),
        blocked=int(blocked, 16),
        env=_text(path, "environ").split("\0")[:-1],
    )


def _text(path: Path, what: str) -> str:
    return _noted(path, what).decode("latin-1")


def _noted(path: Path, what: str) -> bytes:
    return Path(f"{path}.{what}").read_bytes()
