"""Hosts that are not there: one process that answers scrapes as the sidecars of many hosts would.

    python -m tests.fleet.fleet_hosts COUNT SECONDS DIRECTORY

Prints its port; host N is on /metrics/N. From the first line on descriptor 0 on, a host has a login every
SECONDS in the mean; when descriptor 0 ends, nobody logs in any more, and it prints "silent". Each line is a
number: so often a second somebody guesses at a password on host 0 from then on. As with a popup, the line of
descriptor 5 comes first, in DIRECTORY/N.log, and the count then; pages are the product's own, so they have
all its families and its size.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from observability.arrivals.parsing import Event, parse
from observability.event import build
from observability.prometheus import collector as metrics
from observability.store import families, increments
from observability.store.database import Committed
from observability.store.families import Series
from tests.support.sidecar import RECORD, REJECTED, START, fields

_TICK_SECONDS = 0.1
_SECURE = {"PROTOCOL": b"POP3S", "TLS": b"TLSv1.3", "RECORD": RECORD.replace(b"P:POP3", b"P:POP3S")}


def _lasting(seconds: float) -> dict[str, bytes]:
    end = b"%d" % (START + int(seconds * 1e9))
    return {"T_EXITED": end, "T_ENDED": end}


# How sessions go, and how often: mail is fetched over both protocols, for longer or less, and some mistype.
_KINDS: Sequence[tuple[int, Mapping[str, bytes]]] = (
    (45, _SECURE),
    (20, {**_SECURE, **_lasting(4)}),
    (5, {**_SECURE, **_lasting(40)}),
    (20, {}),
    (5, _lasting(4)),
    (4, REJECTED),
    (1, {**REJECTED, **_lasting(2)}),
)


class Login(NamedTuple):
    """One session: the line of descriptor 5, and what it adds to which counters."""

    record: bytes
    added: Counter[Series]


class People:
    """Those who log in; what they do is the same in each run."""

    def __init__(self, seed: int = 7) -> None:
        """Know every kind of session."""
        self.chance = random.Random(seed)  # noqa: S311 - who logs in when, and how it goes
        self._logins = [_login(changes) for _, changes in _KINDS]
        self._weights = [weight for weight, _ in _KINDS]
        self._guess = _login(REJECTED)

    def log_in(self, host: "Host") -> None:
        """Have one session, of any kind."""
        host.count(self.chance.choices(self._logins, self._weights)[0])

    def guess(self, host: "Host") -> None:
        """Have one session with a wrong password."""
        host.count(self._guess)


def _login(changes: Mapping[str, bytes]) -> Login:
    told = fields(dict(changes))
    event = parse(build(told).rstrip(b"\0"))
    assert isinstance(event, Event)
    added: Counter[Series] = Counter()
    kind, measures = increments.kind(event)
    for series, amount, _ in (*increments.of_session(kind), *increments.of_record(kind)):
        added[series] += measures[amount]  # type: ignore[assignment]  # seconds are no whole numbers
    return Login(told[b"RECORD"] + b"\n", added)


class Host:
    """One host: its log, its totals, and the page that shows them."""

    def __init__(self, log: Path) -> None:
        """Begin at 0."""
        self._log = log.open("ab", buffering=0)
        self._values = Counter(families.at_start())
        self._page = b""

    def count(self, login: Login) -> None:
        """Have one session on it."""
        self._log.write(login.record)
        self._values.update(login.added)
        self._page = b""

    def page(self) -> bytes:
        """Return what a scrape gets; made again only where something happened since."""
        if not self._page:
            shown = Committed(MappingProxyType(dict(self._values)), {}, time.time())
            self._page = metrics.exposition(metrics.Sources(lambda: shown, lambda: 3, lambda: 0, 200, "0"))
        return self._page


class Scrape(asyncio.Protocol):
    """One scraper's connection, kept open; a scrape's request is one packet and has no body."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        """Answer for these hosts."""
        self._hosts = hosts
        self._line: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where the answers go."""
        assert isinstance(transport, asyncio.Transport)
        self._line = transport

    def data_received(self, data: bytes) -> None:
        """Answer with the page of the host that the path names."""
        page = self._hosts[int(data.split(b" ", 2)[1].rpartition(b"/")[2])].page()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n"
        if self._line:
            self._line.write(head % len(page) + page)


async def _steadily(rate: float, visit: Callable[[], None]) -> None:
    """Have visits, so many a second."""
    due = 0.0
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        due += _TICK_SECONDS * rate
        while due >= 1:
            visit()
            due -= 1


async def _visit(hosts: Sequence[Host], seconds: float) -> None:
    """Have people and guessers come from when descriptor 0 says so until it ends."""
    loop, people = asyncio.get_running_loop(), People()
    rate = len(hosts) / seconds
    visits: list[asyncio.Task[None]] = []
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if not visits:
            visits.append(
                asyncio.create_task(_steadily(rate, lambda: people.log_in(people.chance.choice(hosts))))
            )
        visits.append(asyncio.create_task(_steadily(float(line), lambda: people.guess(hosts[0]))))
    for visit in visits:
        visit.cancel()


async def _serve(count: int, seconds: float, directory: Path) -> None:
    hosts = [Host(directory / f"{number}.log") for number in range(count)]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Scrape, hosts), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await _visit(hosts, seconds)
    print("silent", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    amount, pause, where = sys.argv[1:]
    asyncio.run(_serve(int(amount), float(pause), Path(where)))
