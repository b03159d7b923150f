"""What Prometheus sees of a pushing host while pushers are killed and the gateway is suspended.

CHAOS=n makes each run n times as long, with a new seed.
"""

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from observability.event import build
from tests.chaos.clients import AT_ONCE, SERVERS, SUBPROGRAM, Crowd, server_for
from tests.support.background import Repeated
from tests.support.gateway import Prometheus, Pushgateway
from tests.support.keeper import Keeper
from tests.support.programs import need
from tests.support.scraper import counts
from tests.support.server import Server, serving
from tests.support.sidecar import REJECTED, deliver, fields
from tests.support.unattended import INSTANCE, Unattended, attempts
from tests.support.waiting import until
from tests.support.without import command

_LONGER = int(os.environ.get("CHAOS", "0"))
_TIMES = _LONGER or 1
_STOPS = 20
_STOPS_MOST = 150  # without the rules, about one in eight was seen
_OFTEN = 0.2
_ATTEMPTS = "qmail_popup_auth_attempts_total"
_COUNTERS = '{__name__=~"qmail_popup_.*_(total|bucket|sum|count)"}'
_RECORD = re.compile(r"(Accept|Reject)::(?:AUTH|STLS)::(User|Apop|Any) P:(POP3S?) S:")
_RESULTS = {"Accept": "accepted", "Reject": "rejected"}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Pushgateway]:
    """Yield a running gateway."""
    with Pushgateway(tmp_path) as gateway:
        yield gateway


@pytest.fixture
def prometheus(tmp_path: Path, gateway: Pushgateway) -> Iterator[Prometheus]:
    """Yield a Prometheus that scrapes the gateway."""
    with Prometheus(tmp_path, gateway) as prometheus:
        until(prometheus.is_scraping)
        yield prometheus


def _chance(usual: int) -> random.Random:
    seed = random.randrange(1 << 32) if _LONGER else usual  # noqa: S311
    print(f"seed {seed}")
    return random.Random(seed)  # noqa: S311


def _steps_back(prometheus: Prometheus) -> list[str]:
    """Return the counters that ever went back."""
    found: dict[str, list[float]] = {}

    def has_any() -> bool:  # a busy one does not answer every query
        found.update(prometheus.samples(f"{_COUNTERS}[1h]"))
        return bool(found)

    until(has_any)
    return [series for series, values in found.items() if values != sorted(values)]


def test_no_counter_steps_back_where_the_gateway_is_stopped(
    tmp_path: Path, gateway: Pushgateway, prometheus: Prometheus
) -> None:
    """Suspended and resumed under load, it never shows less than before; at the end it shows everything."""
    with Keeper(tmp_path) as keeper:
        sent = _stopped_under_load(keeper, gateway, _STOPS * _TIMES, lambda: False)
        until(lambda: attempts(gateway) == sent)
    until(lambda: sum(prometheus.values(_ATTEMPTS).values()) == sent)
    assert [] == _steps_back(prometheus)


def test_without_the_rules_a_counter_steps_back(
    tmp_path: Path, gateway: Pushgateway, prometheus: Prometheus
) -> None:
    """If a push is sent while an older one may still arrive, Prometheus sees a counter go back."""
    with Keeper(tmp_path, command(["one-push-at-a-time"], "observability")) as keeper:
        _stopped_under_load(keeper, gateway, _STOPS_MOST, lambda: bool(_steps_back(prometheus)))
    assert [] != _steps_back(prometheus)


def _stopped_under_load(
    keeper: Keeper, gateway: Pushgateway, stops: int, is_enough: Callable[[], bool]
) -> int:
    """Suspend and resume a sidecar's gateway repeatedly, until a condition holds; return the events."""
    chance, sent = _chance(5), Counter[str]()
    keeper.start(f"--push={gateway.url}", f"--instance={INSTANCE}", "--push-interval=0.05")
    until(lambda: bool(gateway.families(INSTANCE)))

    def one_more() -> None:
        deliver(keeper.socket, build(fields(REJECTED)))
        sent["rejected"] += 1

    with Repeated(one_more, pause=0.005):
        for _ in range(stops):
            gateway.hold()
            time.sleep(chance.uniform(0.2, 0.4))
            gateway.go_on()
            time.sleep(chance.uniform(0.02, 0.15))
            if is_enough():
                break
    return sent.total()


@pytest.mark.parametrize("moment", ["sendto:when=2", "recvfrom:when=3", "recvfrom:when=4"])
def test_a_pusher_that_is_killed_in_the_middle_of_a_push_removes_no_family(
    tmp_path: Path, installed: Path, gateway: Pushgateway, moment: str
) -> None:
    """Killed before sending, after sending, or on the answer: the gateway keeps its families."""
    (strace,) = need("strace")
    with Unattended(tmp_path, installed, gateway.url, interval=_OFTEN) as host:
        host.sessions(1)
        until(lambda: attempts(gateway) == 1)
        host.kill()
        families = gateway.families(INSTANCE)
        call, _, when = moment.partition(":")
        host.run_by(f"{strace} -f -qq -o/dev/null -etrace={call} -einject={call}:signal=KILL:{when}")
        host.sessions(1)
        host.settle()
        assert families == gateway.families(INSTANCE)
        host.run_by("")
        host.sessions(1)
        until(lambda: attempts(gateway) == 3)


def test_what_prometheus_sees_is_what_stands_on_descriptor_5(
    tmp_path: Path, installed: Path, gateway: Pushgateway, prometheus: Prometheus
) -> None:
    """Pushers start, exit and are killed, and a sidecar takes over for a while: each record counts once."""
    with Unattended(tmp_path, installed, gateway.url, interval=_OFTEN) as host, Keeper(tmp_path) as keeper:
        host.sessions(1)  # so that all series exist before the storm
        until(lambda: sum(prometheus.values(_ATTEMPTS).values()) == 1)
        records = _storm(host, keeper, gateway)
        host.sessions(1)  # which triggers the last push
        records["rejected", "User", "POP3"] += 2
        until(lambda: _attempts_by_labels(gateway) == records)
    until(lambda: sum(prometheus.values(_ATTEMPTS).values()) == records.total())
    assert records.total() > AT_ONCE
    _is_right(prometheus, records.total())


def _storm(host: Unattended, keeper: Keeper, gateway: Pushgateway) -> Counter[tuple[str, ...]]:
    """Run a crowd of clients, while pushers are killed and a sidecar starts and ends; return the records."""
    chance = _chance(6)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(_server(host, env)) for name, env in SERVERS.items()}
        crowd = Crowd({name: server.port for name, server in servers.items()}, chance.randrange(1 << 32))
        with Repeated(crowd.visit, threads=AT_ONCE):
            for _ in range(2 * _TIMES):
                _strike_pushers(host, chance)
                _have_sidecar(keeper, gateway, chance)
        return _records(servers.values())


def _strike_pushers(host: Unattended, chance: random.Random) -> None:
    for _ in range(7):
        time.sleep(chance.uniform(0, 0.7))
        host.kill()


def _have_sidecar(keeper: Keeper, gateway: Pushgateway, chance: random.Random) -> None:
    """Start a sidecar on the store that a pusher holds, and kill it after a while."""
    keeper.start(f"--push={gateway.url}", f"--instance={INSTANCE}", f"--push-interval={_OFTEN}")
    time.sleep(chance.uniform(0.5, 2))
    keeper.kill()


@contextmanager
def _server(host: Unattended, env: dict[str, str]) -> Iterator[Server]:
    program = (*host.popup, "pop.example.org", *SUBPROGRAM)
    argv = server_for(*program)
    with serving(argv, {**host.environment, **env}) as server:
        yield server


def _records(servers: Iterable[Server]) -> Counter[tuple[str, ...]]:
    """Count the records on descriptor 5 by labels, after all sessions have ended."""
    found: Counter[tuple[str, ...]] = Counter()
    for server in servers:
        for line in server.settled_records():
            told = _RECORD.match(line)
            assert told
            result, method, protocol = told.groups()
            found[_RESULTS[result], method, protocol] += 1
    return found


def _attempts_by_labels(gateway: Pushgateway) -> Counter[tuple[str, ...]]:
    return counts(gateway.numbers(), "auth_attempts_total", "result", "method", "protocol")


def _is_right(prometheus: Prometheus, expected: int) -> None:
    """Check that no counter went back in Prometheus, and that the increase over the run is as expected."""
    assert [] == _steps_back(prometheus)
    assert {0.0} == set(prometheus.values(f"resets({_ATTEMPTS}[1h])").values())
    ranges = prometheus.samples(f"{_ATTEMPTS}[1h]").values()
    first = sum(values[0] for values in ranges)
    increase = sum(prometheus.values(f"increase({_ATTEMPTS}[1h])").values())
    # increase() extrapolates by half a scrape interval at both ends.
    assert pytest.approx(expected - first, rel=0.02) == increase
