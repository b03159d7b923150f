"""What spans cost: how many sessions a second get theirs, and what becomes of those that are too many.

Sidecar, exporter, generator and receiver are processes of their own, on whatever cores there are.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.descriptors import CHECKOUT
from tests.support.processes import children
from tests.support.sidecar import RunningSidecar

RATE, SECONDS = 4000, 15
BURST = 20_000
FLOOD = 150_000
SPANS = 2  # of each session
_PATIENCE_SECONDS = 120.0


def run(_prefix: Path) -> list[str]:
    """Measure the sidecar of this checkout with spans for every session; return a line for each figure."""
    return [_sustained(), _burst(), _flood()]


class Stand:
    """A receiver, and a sidecar whose exporter sends to it."""

    def __init__(self, directory: Path) -> None:
        """Start both."""
        self._receiver = _python("tests.bench.receiver", stdin=subprocess.PIPE)
        self.sidecar = RunningSidecar(directory, "--otlp", _line(self._receiver))
        self._pids = {"sidecar": self.sidecar.process.pid, "receiver": self._receiver.pid}
        (self._pids["exporter"],) = children(self.sidecar.process.pid)
        self._idle = {name: _cpu(pid) for name, pid in self._pids.items()}

    def send(self, count: int, *rate: str) -> float:
        """Have a generator send events, and wait until all are acknowledged; the seconds that it took."""
        generator = _python("tests.bench.generator", str(self.sidecar.socket), str(count), *rate)
        said, _ = generator.communicate()
        if generator.returncode:
            raise RuntimeError("the generator failed")
        return float(said)

    def settled(self, count: int) -> tuple[int, int]:
        """Wait until each span of so many events is accounted for; how many arrived, and were dropped."""
        counted = self._sum("auth_attempts_total")
        if counted != count:
            raise RuntimeError(f"{counted} of {count} events counted")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (arrived := self._arrived()) + (
            dropped := self._sum("telemetry_spans_dropped_total")
        ) < SPANS * count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{arrived} arrived and {dropped} dropped, of {count} events")
            time.sleep(0.5)
        return arrived, dropped

    def cpu(self) -> dict[str, float]:
        """Return who used how many seconds of CPU since all were idle."""
        return {name: _cpu(pid) - self._idle[name] for name, pid in self._pids.items()}

    def memory(self) -> int:
        """Return the KiB that the exporter holds."""
        status = Path(f"/proc/{self._pids['exporter']}/status").read_text(encoding="ascii")
        found = re.search(r"^VmRSS:\s+([0-9]+) kB$", status, re.MULTILINE)
        return int(found[1]) if found else 0

    def close(self) -> None:
        """End both."""
        self.sidecar.stop()
        self._receiver.communicate()

    def _arrived(self) -> int:
        if not self._receiver.stdin:
            return 0
        self._receiver.stdin.write("?\n")
        self._receiver.stdin.flush()
        return int(_line(self._receiver))

    def _sum(self, name: str) -> int:
        return int(
            sum(
                value
                for (found, _), value in self.sidecar.numbers().items()
                if found == f"qmail_popup_{name}"
            )
        )


@contextmanager
def _stand() -> Iterator[Stand]:
    with tempfile.TemporaryDirectory(prefix="bench-spans-") as scratch:
        stand = Stand(Path(scratch))
        try:
            yield stand
        finally:
            stand.close()


def _sustained() -> str:
    count = RATE * SECONDS
    with _stand() as stand:
        seconds = stand.send(count, str(RATE))
        arrived, dropped = stand.settled(count)
        return (
            f"{SPANS} spans for each of {count / seconds:.0f} events a second (at least {RATE}), for "
            f"{seconds:.0f} s: {arrived} arrived, {dropped} dropped; "
            f"CPU of an event: {_shared(stand.cpu(), count)}"
        )


def _burst() -> str:
    with _stand() as stand:
        seconds = stand.send(BURST)
        arrived, dropped = stand.settled(BURST)
        return (
            f"a burst of {BURST} events in {seconds:.1f} s: {arrived} spans arrived, {dropped} dropped (none)"
        )


def _flood() -> str:
    with _stand() as stand:
        seconds = stand.send(FLOOD)
        own, held = stand.cpu()["sidecar"], stand.memory()
        arrived, dropped = stand.settled(FLOOD)
        return (
            f"more than spans can be made of: {FLOOD / seconds:.0f} events a second by the clock, "
            f"{FLOOD / own:.0f} for each second of the sidecar's CPU (at least 15000), all counted; "
            f"{arrived} spans arrived, {dropped} dropped and counted; the exporter held {held} KiB at the end"
        )


def _shared(spent: dict[str, float], count: int) -> str:
    return ", ".join(f"{name} {seconds / count * 1e6:.0f} us" for name, seconds in spent.items())


def _python(module: str, *words: str, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", module, *words]
    return subprocess.Popen(argv, cwd=CHECKOUT, stdin=stdin, stdout=subprocess.PIPE, text=True)


def _line(process: "subprocess.Popen[str]") -> str:
    return process.stdout.readline().strip() if process.stdout else ""


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that it has used, user and system: fields 14 and 15 of proc(5)'s stat."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
