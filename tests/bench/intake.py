"""What an event costs the sidecar, beside the least that any exactly-once sidecar in Python has to do.

Events a second say more about the machine than about the program, so the figure is a ratio: both get as many
events in turn, window by window, on the same processor, and the median of the windows counts. The generator
has another processor, where there is one.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.descriptors import CHECKOUT
from tests.support.sidecar import RunningSidecar

WINDOW, WINDOWS = 5_000, 30
METHOD = f"median of {WINDOWS} windows of {WINDOW} events each, in turn"
_CPUCLOCK_SCHED = 2


class Cost(NamedTuple):
    """The CPU that an event takes: ours in parts of the bare loop's, and events for each second of either."""

    ratio: float
    ours: float
    bare: float


def cost(*options: str) -> Cost:
    """Measure a sidecar with these options."""
    with running(*options) as sidecar, _bare() as (path, bare):
        subjects = (sidecar.socket, sidecar.process.pid), (path, bare.pid)
        for subject in subjects:  # the first events find cold caches
            _window(*subject)
        spent = [[_window(*subject) for subject in subjects] for _ in range(WINDOWS)]
        require(sidecar, WINDOW * (WINDOWS + 1))
    ratio = statistics.median(ours / bare for ours, bare in spent)
    return Cost(ratio, *(WINDOW / statistics.median(times) for times in zip(*spent, strict=True)))


@contextmanager
def running(*options: str) -> Iterator[RunningSidecar]:
    """Give a sidecar on the first processor."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-sidecar-") as scratch,
        RunningSidecar(Path(scratch), *options) as sidecar,
    ):
        _place(sidecar.process.pid)
        yield sidecar


def generate(path: Path, count: int, *rate: str) -> "subprocess.Popen[str]":
    """Start to send events, from any processor but the first."""
    argv = [sys.executable, "-m", "tests.bench.generator", str(path), str(count), *rate]
    others = sorted(os.sched_getaffinity(0))[1:]
    generator = subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    if others:
        os.sched_setaffinity(generator.pid, others)
    return generator


def sent(path: Path, count: int) -> float:
    """Send as many events as fast as they are acknowledged; the seconds that it took."""
    generator = generate(path, count)
    said, _ = generator.communicate()
    if generator.returncode:
        raise RuntimeError("the generator failed")
    return float(said)


def cpu(pid: int) -> float:
    """Return the seconds of CPU that all threads of a process have used."""
    # The clock that clock_getcpuclockid(3) returns on Linux.
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


def require(sidecar: RunningSidecar, count: int) -> None:
    """Make sure that each event was counted once."""
    counted = sum(
        value for (name, _), value in sidecar.numbers().items() if name == "qmail_popup_auth_attempts_total"
    )
    if counted != count:
        raise RuntimeError(f"{counted} of {count} events counted")


@contextmanager
def _bare() -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """Give the socket and the process of a bare loop on the first processor."""
    with tempfile.TemporaryDirectory(prefix="bench-bare-") as scratch:
        path = Path(scratch, "socket")
        argv = [sys.executable, "-m", "tests.bench.bare", str(path), str(Path(scratch, "database"))]
        with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                process.stdout.readline()  # it listens
                _place(process.pid)
                yield path, process
            finally:
                process.kill()


def _window(path: Path, pid: int) -> float:
    before = cpu(pid)
    sent(path, WINDOW)
    return cpu(pid) - before


def _place(pid: int) -> None:
    """Keep all threads of a process on the first processor."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {min(os.sched_getaffinity(0))})
