"""What one session costs: CPU from start to end, beside the bare interpreter's, run in turn.

A session is greeting, USER, QUIT. User and system time of each process come from wait4(2); of many runs the
tenth percentile counts, which repeats on a busy machine where medians and means do not. Two copies of the
very same files differ by up to 0.03, so several are measured, and the figure is their median.
"""

import os
import shutil
import socket
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

RUNS = 500
COPIES = 5
METHOD = f"tenth percentile of {RUNS} runs in turn, median of {COPIES} copies"
_INTERPRETER = "/usr/bin/python3"
_HOST = "pop.example.org"


def measure(prefix: Path, cases: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """Return what a session of the product at `prefix` costs in each case, in parts of the bare interpreter.

    A case is an environment. The bare interpreter's own cost, in milliseconds, stands under "bare".
    """
    bare: list[float] = []
    spent: dict[str, list[list[float]]] = {name: [[] for _ in range(COPIES)] for name in cases}
    with tempfile.TemporaryDirectory(prefix="bench-copies-") as scratch:
        popups = [_copy(prefix, Path(scratch, str(number))) for number in range(COPIES)]
        for _ in range(RUNS):
            bare.append(_cpu([_INTERPRETER, "-IS", "-c", "pass"], {}, talk=False))
            for number, popup in enumerate(popups):
                for (
                    name,
                    environ,
                ) in cases.items():  # in turn: the sidecar has time for each session
                    spent[name][number].append(_cpu([str(popup), _HOST, "/bin/true"], environ, talk=True))
    least = _tenth_percentile(bare)
    ratios = {name: statistics.median(map(_tenth_percentile, of)) / least for name, of in spent.items()}
    return {"bare": least * 1000, **ratios}


def _copy(prefix: Path, to: Path) -> Path:
    """Copy what a session runs of an installation, and return the popup in the copy."""
    for part in ("bin", "lib/qmail-popup"):
        shutil.copytree(
            prefix / part, to / part, symlinks=True, ignore=shutil.ignore_patterns("site-packages")
        )
    return to / "bin/qmail-popup"


def _tenth_percentile(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 10]


def _cpu(argv: list[str], environ: Mapping[str, str], *, talk: bool) -> float:
    """Return the seconds of CPU, user and system, that one process took from its start to its end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        network = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), fd) for fd in (0, 1)]
        pid = os.posix_spawn(argv[0], argv, {"PATH": "/bin:/usr/bin", **environ}, file_actions=network)
        theirs.close()
        if talk:
            _converse(ours)
        _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{argv[0]} ended with {status}")
    return usage.ru_utime + usage.ru_stime


def _converse(line: socket.socket) -> None:
    for command in (b"", b"USER bob\r\n", b"QUIT\r\n"):
        line.sendall(command)
        if not line.recv(512).startswith(b"+OK"):
            raise RuntimeError("the popup did not answer +OK")
