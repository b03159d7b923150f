"""What a fleet's engine costs: a host's scrape, the scrapers, the stores, and an outage.

Hosts that only answer scrapes, each with a sidecar's own page, are scraped every second instead of every 15:
two hundred of them are the samples of three thousand. The programs share the machine with those hosts.
"""

import gzip
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench import history, sizes
from tests.bench.generator import send
from tests.fleet.fleet_crowd import Crowd
from tests.fleet.fleet_engine import Engine, Paces, Program, running
from tests.support.descriptors import CHECKOUT
from tests.support.scraper import read
from tests.support.sidecar import RunningSidecar

HOSTS, LOGIN_EVERY = 200, 30.0
SECONDS, OUTAGE_SECONDS = 60.0, 60.0
_WARM_SECONDS = 20.0
_LOGINS = 1000  # before a page is weighed
_PACES = Paces(scrape="1s", evaluation="15s", latency="5s", lookback="5m", behind="2m")
_PATIENCE = 60.0
_SCRAPED = "vm_promscrape_scraped_samples_sum"


def run(_prefix: Path) -> list[str]:
    """Measure a sidecar's page, then the engine of deploy/fleet; return a line for each figure."""
    return [*_page(), *_engine(), *history.run(), *sizes.run()]


class Used(NamedTuple):
    """What programs have used, all of a kind together, and what passed through them."""

    cpu: float
    rows: float
    memory: float


def _page() -> list[str]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-fleet-") as scratch,
        RunningSidecar(Path(scratch), "--sessions-limit=200") as sidecar,
    ):
        send(str(sidecar.socket), _LOGINS)
        series = len(sidecar.numbers())
        with urllib.request.urlopen(sidecar.url, timeout=_PATIENCE) as answer:  # noqa: S310  our own URL
            page = answer.read()
    return [f"a host: {series} series, {len(page)} bytes a scrape, {len(gzip.compress(page))} compressed"]


@contextmanager
def _fleet() -> Iterator[Engine]:
    """Give an engine whose scrapers and stores run, and no rules."""
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as scratch, ExitStack() as stack:
        directory = Path(scratch)
        crowd = stack.enter_context(Crowd(directory / "crowd", HOSTS, LOGIN_EVERY))
        crowd.begin()
        receiver = directory / "alertmanager.yml"
        receiver.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        engine = Engine(directory, CHECKOUT / "dashboards/rules", receiver, _PACES)
        engine.scrape(crowd.groups())
        stack.enter_context(running(*engine.stores, *engine.scrapers))
        time.sleep(_WARM_SECONDS)
        yield engine


def _engine() -> list[str]:
    with _fleet() as engine:
        return [*_ingestion(*_spent(engine)), _outage(engine)]


def _spent(engine: Engine) -> tuple[Used, Used]:
    """Return what scrapers and stores use in a second."""
    before = _used(engine)
    time.sleep(SECONDS)
    after = _used(engine)
    scrapers, stores = (
        Used((now.cpu - then.cpu) / SECONDS, (now.rows - then.rows) / SECONDS, now.memory)
        for then, now in zip(before, after, strict=True)
    )
    return scrapers, stores


def _used(engine: Engine) -> tuple[Used, Used]:
    return (
        _sum(engine.scrapers, _SCRAPED),
        _sum(engine.stores, "vm_rows_inserted_total"),
    )


def _sum(programs: Sequence[Program], rows: str) -> Used:
    names = ("process_cpu_seconds_total", rows, "process_resident_memory_bytes")
    return Used(*(sum(_metric(program, name) for program in programs) for name in names))


def _metric(program: Program, name: str) -> float:
    """Return the sum of a program's own series of that name."""
    numbers = read(f"{program.url}/metrics", _PATIENCE)
    return sum(value for (found, _), value in numbers.items() if found == name)


def _ingestion(scrapers: Used, stores: Used) -> list[str]:
    return [
        (
            f"{HOSTS} hosts a second, each by two of three scrapers: {scrapers.rows:.0f} samples a second; "
            f"CPU {scrapers.cpu / scrapers.rows * 1e9:.0f} us for each 1,000 scraped and sent to two stores; "
            f"{scrapers.memory / 1e6:.0f} MB resident, all three"
        ),
        (
            f"two stores: {stores.rows:.0f} samples a second put in, of which half go again; "
            f"CPU {stores.cpu / stores.rows * 1e9:.0f} us for each 1,000; "
            f"{stores.memory / 1e6:.0f} MB resident, both"
        ),
    ]


def _outage(engine: Engine) -> str:
    """Take a store away; what waits for it on disk, and how soon that has gone when it is back."""
    before = _sum(engine.scrapers, _SCRAPED).rows
    engine.stores[0].kill()
    time.sleep(OUTAGE_SECONDS)
    waiting, rows = _waiting(engine), _sum(engine.scrapers, _SCRAPED).rows
    engine.stores[0].start().await_ready()
    began, highest = time.monotonic(), waiting
    while (left := _waiting(engine)) > waiting / 100:
        highest = max(highest, left)
        time.sleep(0.5)
    return (
        f"a store away for {OUTAGE_SECONDS:.0f} s: {waiting / 1e6:.1f} MB wait for it, "
        f"{waiting / (rows - before):.2f} bytes a sample; all was written {time.monotonic() - began:.0f} s "
        "after its return"
    )


def _waiting(engine: Engine) -> float:
    return sum(_metric(scraper, "vmagent_remotewrite_pending_data_bytes") for scraper in engine.scrapers)
