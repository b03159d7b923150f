"""What one session costs: CPU from start to end, beside the bare interpreter's, run in turn.

A session is greeting, USER, QUIT. User and system time of each process come from wait4(2); the figure is
the tenth percentile, which repeats within 0.01 on a busy machine where medians and means do not.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

RUNS = 500
_INTERPRETER = "/usr/bin/python3"
_HOST = "pop.example.org"


def measure(popup: Path, cases: Mapping[str, Mapping[str, str]], runs: int = RUNS) -> dict[str, float]:
    """Return what a session costs in each case (an environment), in parts of the bare interpreter.

    The bare interpreter's own cost, in milliseconds, stands under "bare".
    """
    spent: dict[str, list[float]] = {name: [] for name in ("bare", *cases)}
    for _ in range(runs):
        spent["bare"].append(_cpu([_INTERPRETER, "-IS", "-c", "pass"], {}, talk=False))
        for name, environ in cases.items():
            spent[name].append(_cpu([str(popup), _HOST, "/bin/true"], environ, talk=True))
    least = {name: _tenth_percentile(values) for name, values in spent.items()}
    ratios = {name: least[name] / least["bare"] for name in cases}
    return {"bare": least["bare"] * 1000, **ratios}


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
