"""What a store makes of the past: a day of few hosts on disk, and ten minutes of many under the rules.

The past is put in at once, page by page, as if each had been scraped 15 seconds after the one before.
"""

import math
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from tests.fleet.fleet_engine import Engine, Paces, Program, running, stores
from tests.fleet.fleet_hosts import Host, People
from tests.support.descriptors import CHECKOUT
from tests.support.scraper import Labels, read

HOSTS, LOGINS_A_SECOND = 2, 1.0
DAY, STEP = 86_400, 15
MANY, WINDOW, EVALUATED_SECONDS = 200, 900, 120.0
EVALUATION = 60  # as the rules themselves say
_PACES = Paces(scrape="15s", evaluation="15s", latency="1s", lookback="5m", behind="2m")
_PATIENCE = 300.0
_LATE_MILLISECONDS = 10  # no scrape is quite on time, which costs more than most of the values
_CPU: tuple[str, Labels] = ("process_cpu_seconds_total", ())
_SETTLED_SECONDS = 60.0  # what the rules record first is new to the store's index
_MERGE_SECONDS = 15.0  # it answers at once, and works on


def run() -> list[str]:
    """Measure both; return a line for each."""
    return [_day(), _rules()]


def _day() -> str:
    with tempfile.TemporaryDirectory(prefix="bench-history-") as scratch:
        store, _ = stores(Path(scratch), _PACES)
        with running(store):
            for number in range(HOSTS):
                _put(store, number, DAY // STEP)
            _ask(store, "/internal/force_flush")
            _ask(store, "/internal/force_merge")
            time.sleep(_MERGE_SECONDS)
            samples, size, index = (_metric(store, *which) for which in _KEPT)
    return (
        f"a day of {HOSTS} hosts, {LOGINS_A_SECOND:.0f} login a second on each in the mean: "
        f"{samples:.0f} samples of {size / samples:.2f} bytes, and an index of {index / 1e3:.0f} kB"
    )


def _rules() -> str:
    with tempfile.TemporaryDirectory(prefix="bench-rules-") as scratch:
        receiver = Path(scratch, "alertmanager.yml")
        receiver.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        engine = Engine(Path(scratch), CHECKOUT / "dashboards/rules", receiver, _PACES)
        store, rules = engine.stores[0], engine.rules[0]
        with running(store):
            for number in range(MANY):
                _put(store, number, WINDOW // STEP)
            with running(engine.alertmanager, rules):
                time.sleep(_SETTLED_SECONDS)
                before = _used(store, rules)
                time.sleep(EVALUATED_SECONDS)
                spent = [now - then for now, then in zip(_used(store, rules), before, strict=True)]
    stored, asked, rows = (amount / (EVALUATED_SECONDS / EVALUATION) / MANY for amount in spent)
    return (
        f"the rules over {MANY} hosts, every {EVALUATION} s, by host and evaluation: {stored * 1e6:.0f} us "
        f"of the store's CPU, {asked * 1e6:.0f} of vmalert's, and {rows:.0f} samples recorded"
    )


def _used(store: Program, rules: Program) -> tuple[float, float, float]:
    """Return the seconds of CPU that both have used, and how many samples the rules have written."""
    stored, asked = (read(f"{program.url}/metrics", _PATIENCE) for program in (store, rules))
    written = stored["vm_rows_inserted_total", (("type", "promremotewrite"),)]
    return stored[_CPU], asked[_CPU], written


_KEPT = (
    ("vm_rows", "storage/"),
    ("vm_data_size_bytes", "storage/"),
    ("vm_data_size_bytes", "indexdb"),
)


def _put(store: Program, number: int, steps: int) -> None:
    """Write one host's past, page by page, up to now."""
    host, people = Host(Path("/dev/null")), People(number)
    begin = (int(time.time()) // STEP - steps) * STEP + STEP // 2  # none where the store parts its intervals
    labels = [("extra_label", f"instance=mail{number}.example.org:9110"), ("extra_label", "job=qmail-popup")]
    for step in range(steps):
        for _ in range(_poisson(people, step)):
            people.log_in(host)
        late = people.chance.randrange(_LATE_MILLISECONDS)
        words = urllib.parse.urlencode([*labels, ("timestamp", (begin + step * STEP) * 1000 + late)])
        _ask(store, f"/api/v1/import/prometheus?{words}", host.page() + b"up 1\n")


def _poisson(people: People, step: int) -> int:
    """Return how many log in within a step, by the waiting times between them: few at night, most at noon."""
    mean = LOGINS_A_SECOND * STEP * (1 - math.cos(2 * math.pi * step * STEP / DAY))
    count, waited = 0, people.chance.expovariate(1.0)
    while waited < mean:
        count, waited = count + 1, waited + people.chance.expovariate(1.0)
    return count


def _ask(store: Program, path: str, body: bytes | None = None) -> None:
    with urllib.request.urlopen(store.url + path, body, timeout=_PATIENCE):  # noqa: S310  our own URL
        pass


def _metric(store: Program, wanted: str, kind: str) -> float:
    """Return the sum of a metric of the store's own over all types that begin so."""
    numbers = read(f"{store.url}/metrics", _PATIENCE)
    return sum(
        value
        for (name, labels), value in numbers.items()
        if name == wanted and dict(labels)["type"].startswith(kind)
    )
