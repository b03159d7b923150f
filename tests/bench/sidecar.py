"""The sidecar's measurements: what an event costs, memory, and how soon a record is a number on /metrics.

What it costs is measured beside a bare loop (intake.py).
"""

import re
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from observability.event import build
from tests.bench import intake
from tests.support.sidecar import REJECTED, RunningSidecar, deliver, fields, hello_of
from tests.support.waiting import until

FEW, MANY = 10_000, 1_000_000
SAMPLES = 300
LOGGED = 1_000_000
COST_MOST, LOGGING_COST_MOST = 1.95, 3.65
SCRAPE_MOST, ROUNDS = 2.5, 5


def run(_prefix: Path) -> list[str]:
    """Measure the sidecar of this checkout; return a line for each figure."""
    return [
        f"an event, a connection for each, none lost: {_cost(COST_MOST)}",
        f"the same with the JSON log: {_cost(LOGGING_COST_MOST, '--json-log')}",
        _latency(),
        _log_rate(),
        _log_latency(),
        _scrape(),
        _memory(),
    ]


def _cost(most: float, *options: str) -> str:
    ratio, ours, bare = intake.cost(*options)
    return (
        f"{ratio:.2f} of the CPU of a bare loop that accepts, receives, stores the identity, answers and "
        f"closes (at most {most:.2f}; {intake.METHOD}); {ours:.0f} events for each second of CPU, "
        f"the bare loop {bare:.0f}"
    )


def _log_rate() -> str:
    """Count what stands in a log, from the sidecar's start on."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch, "log")
        lines = [_logged(number) for number in range(LOGGED)]
        log.write_bytes(b"".join(lines))
        with RunningSidecar(Path(scratch), f"--read-log={log}", "--read-log-from=start") as sidecar:
            until(lambda: sidecar.value("telemetry_events_total", source="log") == LOGGED)
            spent = intake.cpu(sidecar.process.pid)
    rate = f"{LOGGED / spent:.0f} for each second of its CPU"
    return f"records from a log: {rate}, the sidecar's start included (at least 40000)"


def _log_latency() -> str:
    """Time from a line in a log to its count on /metrics, by scraping without a pause."""
    times = []
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch, "log")
        log.touch()
        with RunningSidecar(Path(scratch), f"--read-log={log}") as sidecar, log.open("ab", 0) as writer:
            for number in range(1, SAMPLES + 1):
                wanted = f'source="log"}} {number}.0\n'.encode()
                started = time.monotonic()
                writer.write(_logged(number))
                while wanted not in _page(sidecar):
                    pass
                times.append(time.monotonic() - started)
    return f"from a line in a log to /metrics: {_spread(times)} (p99 below 1 s)"


def _logged(number: int) -> bytes:
    record = "qmail-popup: pid {0} Reject::AUTH::User P:POP3 S:192.0.2.{0}:unknown ?~ 'u{1}'"
    return f"@400000006b0a1046{number:08x} {record.format(number % 256, number)}\n".encode()


def _memory() -> str:
    with intake.running() as sidecar:
        intake.sent(sidecar.socket, FEW)
        few = _resident(sidecar)
        intake.sent(sidecar.socket, MANY - FEW)
        intake.require(sidecar, MANY)
        many = _resident(sidecar)
    return (
        f"resident memory after {MANY} events: {many / few:.2f} of the {few} KiB after {FEW} (at most 1.30)"
    )


def _latency() -> str:
    """Time from an event to its count on /metrics, by scraping without a pause, at 500 sessions a second."""
    told = {**REJECTED, "RECORD": REJECTED["RECORD"].replace(b"User", b"Apop")}
    times = []
    with intake.running() as sidecar, _load(sidecar, 500):
        for number in range(1, SAMPLES + 1):
            wanted = f'method="Apop",protocol="POP3",result="rejected"}} {number}.0\n'.encode()
            event = fields(told)
            started = time.monotonic()
            deliver(sidecar.socket, hello_of(event), build(event))
            while wanted not in _page(sidecar):
                pass
            times.append(time.monotonic() - started)
    return f"from the event to /metrics at 500 sessions a second: {_spread(times)} (p99 below 100 ms)"


def _scrape() -> str:
    """Time of one scrape while 5,000 events a second come in, beside one without, in turn."""
    quiet, loaded = list[float](), list[float]()
    with intake.running() as sidecar:
        for _ in range(ROUNDS):
            quiet += _scrapes(sidecar, SAMPLES // ROUNDS)
            with _load(sidecar, 5000):
                loaded += _scrapes(sidecar, SAMPLES // ROUNDS)
    ratio = statistics.median(loaded) / statistics.median(quiet)
    return (
        f"a scrape at 5,000 events a second: {ratio:.2f} of one without (at most {SCRAPE_MOST:.2f}; medians, "
        f"in turn); {_spread(loaded)}, without {_spread(quiet)}"
    )


def _scrapes(sidecar: RunningSidecar, number: int) -> list[float]:
    """Return how long each of some scrapes takes."""
    times = []
    for _ in range(number):
        started = time.monotonic()
        _page(sidecar)
        times.append(time.monotonic() - started)
        time.sleep(0.01)
    return times


def _spread(times: list[float]) -> str:
    quantiles = statistics.quantiles(times, n=100)
    return f"p50 {quantiles[49] * 1000:.1f} ms, p99 {quantiles[98] * 1000:.1f} ms of {len(times)}"


@contextmanager
def _load(sidecar: RunningSidecar, rate: int) -> Iterator[None]:
    """Have a generator send events at a rate for as long as the block lasts."""
    generator = intake.generate(sidecar.socket, 10_000_000, str(rate))
    try:
        threading.Event().wait(1.0)  # for the generator to start
        yield
        if generator.poll() is not None:
            raise RuntimeError("the generator ended early")
    finally:
        generator.kill()
        generator.communicate()


def _page(sidecar: RunningSidecar) -> bytes:
    with urllib.request.urlopen(sidecar.url) as answer:  # noqa: S310  our own URL
        page: bytes = answer.read()
    return page


def _resident(sidecar: RunningSidecar) -> int:
    status = Path(f"/proc/{sidecar.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+([0-9]+) kB$", status, re.MULTILINE)
    return int(found[1]) if found else 0
