"""The storm: real servers, popups and many clients, while faults are injected into the sidecar."""

import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import NamedTuple

from tests.chaos import clients, faults
from tests.chaos.clients import AT_ONCE, Crowd
from tests.support.background import Repeated
from tests.support.keeper import Keeper
from tests.support.scraper import Numbers, Watcher, counts
from tests.support.server import Server, serving
from tests.support.waiting import until

MIN_SESSIONS = 100

# Parsed from the left, as specified; this crowd uses only simple names.
_RECORD = re.compile(
    r"(Accept|Reject)::(?:AUTH|STLS)::(User|Apop|Any) P:(POP3S?) S:127\.0\.0\.1:unknown \?~ "
)
_RESULTS = {"Accept": "accepted", "Reject": "rejected"}


class Outcome(NamedTuple):
    """Expected and actual counts, by labels."""

    records: Counter[tuple[str, ...]]
    attempts: Counter[tuple[str, ...]]
    connections: Counter[tuple[str, ...]]
    sessions: Counter[tuple[str, ...]]
    sources: Counter[tuple[str, ...]]
    dropped: Counter[tuple[str, ...]]
    struck: int
    """Number of popups that were sent a signal."""
    killed: int
    """Of these, the number sent SIGKILL: SIGTERM ends no popup between its record and its event."""
    looks: int
    """Number of successful scrapes by the watcher."""
    complaints: list[str]


class Storm(NamedTuple):
    """A storm's parameters. seed: of everything random; wrap: prefix of the server's command line."""

    popup: Sequence[str]
    cwd: Path
    seed: int
    rounds: int
    strikes: bool = False
    wrap: Sequence[str] = ()


def weather(storm: Storm, keeper: Keeper) -> Outcome:
    """Run the storm on the keeper's sidecar; finally restart that, and drain the spool."""
    keeper.start()
    with ExitStack() as stack:
        servers = [stack.enter_context(_server(storm, keeper, env)) for env in clients.SERVERS.values()]
        watcher = stack.enter_context(Watcher(lambda: keeper.url, lambda: _records(servers).total()))
        ports = {name: server.port for name, server in zip(clients.SERVERS, servers, strict=True)}
        crowd = Crowd(ports, storm.seed)
        with _striking(servers, storm) as struck, Repeated(crowd.visit, threads=AT_ONCE):
            faults.plan(keeper, storm.seed, storm.rounds)
            until(lambda: crowd.sessions.total() >= MIN_SESSIONS)
        for server in servers:
            server.settled_records()
        keeper.kill()
        numbers = keeper.start().drained()
        records = _records(servers)
    return _outcome(numbers, records, crowd, watcher, struck)


def _outcome(
    numbers: Numbers,
    records: Counter[tuple[str, ...]],
    crowd: Crowd,
    watcher: Watcher,
    struck: Sequence[Signals],
) -> Outcome:
    return Outcome(
        records=records,
        attempts=counts(numbers, "auth_attempts_total", "result", "method", "protocol"),
        connections=crowd.sessions,
        sessions=counts(numbers, "sessions_total", "ended", "protocol"),
        sources=counts(numbers, "telemetry_events_total", "source"),
        dropped=counts(numbers, "telemetry_events_dropped_total", "reason"),
        struck=len(struck),
        killed=struck.count(SIGKILL),
        looks=watcher.looks,
        complaints=watcher.complaints,
    )


@contextmanager
def _server(storm: Storm, keeper: Keeper, env: dict[str, str]) -> Iterator[Server]:
    program = (*storm.popup, "pop.example.org", *clients.SUBPROGRAM)
    argv = [*storm.wrap, *clients.server_for(*program)]
    with serving(argv, {**keeper.environment, **env}, cwd=storm.cwd) as server:
        yield server


def _records(servers: Sequence[Server]) -> Counter[tuple[str, ...]]:
    """Count the records on descriptor 5 by labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for server in servers:
        for result, method, protocol in _RECORD.findall(server.log.read_text()):
            found[_RESULTS[result], method, protocol] += 1
    return found


@contextmanager
def _striking(servers: Sequence[Server], storm: Storm) -> Iterator[list[Signals]]:
    """Send signals to random popups while the context lasts; yield the list of signals sent."""
    struck: list[Signals] = []
    chance = random.Random(storm.seed)  # noqa: S311
    with Repeated(lambda: _strike(servers, chance, struck), threads=int(storm.strikes)):
        yield struck


def _strike(servers: Sequence[Server], chance: random.Random, struck: list[Signals]) -> None:
    popups = [pid for server in servers for pid in _popups(server.pid)]
    if popups:
        # Choose among the older ones: most of the others have not reached their first line.
        victim = chance.choice(popups[: len(popups) // 2 + 1])
        number = chance.choice((SIGKILL, SIGTERM))
        with suppress(ProcessLookupError):
            os.kill(victim, number)
            struck.append(number)
    time.sleep(chance.uniform(0, 0.2))


def _popups(server: int) -> list[int]:
    """Return the children of a server that have already executed the popup."""
    with suppress(OSError):
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        return [int(pid) for pid in children if _runs_python(pid)]
    return []


def _runs_python(pid: str) -> bool:
    with suppress(OSError):
        return "python" in os.readlink(f"/proc/{pid}/exe")
    return False
