"""Mail hosts whose sessions come first: their events are kept, and sent to the sidecar at a story's pace.

Sessions of real popups take as long as the machine needs for them. An event costs next to nothing, so what is
counted in which second is for the story to say, however busy the machine is. Of sessions that are alike only
the first are real: the others are their events again, each with an identity of its own.
"""

import re
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle, islice
from pathlib import Path

from observability.arrivals.connection import ACKNOWLEDGEMENT
from observability.event import SEPARATOR, TRACE
from tests.fleet.hosts_mail import MailHost
from tests.fleet.hosts_users import visit
from tests.support.background import Background
from tests.support.maildir import Account
from tests.support.networks import Node
from tests.support.sidecar import deliver
from tests.support.waiting import until

_AT_ONCE = 4
_REAL_SESSIONS = 10
_IDENTITY = re.compile(rb"(?<=\0%b=)[0-9a-f]{32}" % TRACE)

Events = Iterator[bytes]
"""As popups made them; what is taken once is gone."""


class StoryHost(MailHost):
    """A mail host whose popups know no sidecar, and leave their events in a spool of their own."""

    def __init__(self, directory: Path, node: Node, installed: Path) -> None:
        super().__init__(directory, node, installed)
        self._kept = directory / "kept"
        self._kept.mkdir()

    @property
    def mirror(self) -> Mapping[str, str]:
        """What the popups are told: of the spool alone."""
        return {"QMAIL_POPUP_SPOOL": str(self._kept)}

    def events(self, account: Account, count: int, tls: ssl.SSLContext | None = None) -> Events:
        """Have sessions now, and return so many events of sessions like these."""
        events: list[bytes] = []
        real = min(count, _REAL_SESSIONS)
        while len(events) < real:  # a popup that is starved gives its event up
            with ThreadPoolExecutor(_AT_ONCE) as visitors:
                list(visitors.map(lambda _: visit(self, account, tls), range(real - len(events))))
            until(lambda: not any(server.processes() for server in self._servers))
            events += self._taken()
        return islice(chain(events, map(_of_another, cycle(events))), count)

    def _taken(self) -> list[bytes]:
        """Take all events that there are, at least one."""
        spool = self._kept / "spool"
        events = [block + SEPARATOR for block in spool.read_bytes().split(SEPARATOR) if block]
        spool.unlink()
        return events

    def send(self, event: bytes) -> None:
        """Send an event to the sidecar; it has been counted then."""
        assert ACKNOWLEDGEMENT == deliver(self._keeper.socket, event)


def _of_another(event: bytes) -> bytes:
    """Return the event that another session like this one would make."""
    again, found = _IDENTITY.subn(uuid.uuid4().hex.encode(), event)
    assert 1 == found
    return again


class Sending(Background):
    """Sends events to their host's sidecar, so many a second, until they are used up or the context ends."""

    def __init__(self, host: StoryHost, events: Events, rate: float) -> None:
        super().__init__(self._send)
        self._host, self._events, self._rate = host, events, rate

    def _send(self) -> None:
        """Send each when it is due; what a slow machine has held up is made up for."""
        due = time.monotonic()
        for event in self._events:
            if self.over.wait(max(0.0, due - time.monotonic())):
                return
            self._host.send(event)
            due += 1 / self._rate
