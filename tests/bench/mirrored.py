"""The mirror's measurements: what it costs a session, and whether a client ever notices the sidecar."""

import signal
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.cost import METHOD, measure
from tests.bench.rate import log_in, rates
from tests.support.server import serving, tcpserver
from tests.support.sidecar import RunningSidecar

COST_MOST = 1.05
CLIENTS = 40
PAIRS = 300


def run(prefix: Path) -> list[str]:
    """Measure the product that is installed at `prefix`; return a line for each figure."""
    popup = prefix / "bin/qmail-popup"
    return [_cost(prefix), _wait(popup), _rates(popup)]


def _cost(prefix: Path) -> str:
    with _sidecar() as (_, environ):
        cost = measure(prefix, {"off": {}, "on": environ})
    return (
        f"CPU of a session, of the bare interpreter's {cost['bare']:.2f} ms: "
        f"{cost['on']:.3f} with the sidecar up (at most {COST_MOST:.2f}), {cost['off']:.3f} without a mirror "
        f"({METHOD})"
    )


def _wait(popup: Path) -> str:
    """Time from the last command to the end of file: the sidecar stopped, and no mirror, in turn."""
    command = tcpserver(str(popup), "pop.example.org", "/bin/true")
    with (
        _sidecar() as (sidecar, environ),
        serving(command, environ) as mirrored,
        serving(command, {}) as bare,
    ):
        sidecar.signal(signal.SIGSTOP)
        pairs = [(log_in(mirrored.port), log_in(bare.port)) for _ in range(PAIRS)]
    stopped, without = (statistics.median(times) for times in zip(*pairs, strict=True))
    return (
        f"from the last command to the end of file, the sidecar stopped: {stopped / without:.3f} "
        f"of the {without * 1000:.1f} ms without a mirror (medians of {PAIRS} logins each, in turn)"
    )


def _rates(popup: Path) -> str:
    with _sidecar() as (sidecar, environ):
        rates_found = {"up": _rate(popup, environ)}
        sidecar.signal(signal.SIGSTOP)
        rates_found["stopped"] = _rate(popup, environ)
        sidecar.kill()
        rates_found["absent"] = _rate(popup, environ)
    rates_found["no mirror"] = _rate(popup, {})
    figures = ", ".join(f"{name} {rate:.0f}/s" for name, rate in rates_found.items())
    return f"logins through tcpserver -c {CLIENTS}, {CLIENTS} clients at once, by sidecar: {figures}"


def _rate(popup: Path, environ: Mapping[str, str]) -> float:
    return rates(popup, (CLIENTS,), environ, at_once=CLIENTS)[CLIENTS]


@contextmanager
def _sidecar() -> Iterator[tuple[RunningSidecar, dict[str, str]]]:
    """Give a sidecar that runs, and the environment of popups that use it."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-sidecar-") as scratch,
        RunningSidecar(Path(scratch)) as sidecar,
    ):
        yield sidecar, {"QMAIL_POPUP_SIDECAR": str(sidecar.socket), "QMAIL_POPUP_SPOOL": str(sidecar.spool)}
