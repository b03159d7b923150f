"""Mail hosts whose sessions come first: their events are kept, and sent to the sidecar at a story's pace.

Sessions of real popups take as long as the machine needs for them. An event costs next to nothing, so what is
counted in which second is for the story to say, however busy the machine is.
"""

import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from observability.arrivals.connection import ACKNOWLEDGEMENT
from observability.event import SEPARATOR
from tests.fleet.hosts_mail import MailHost
from tests.fleet.hosts_users import visit
from tests.support.background import Background
from tests.support.maildir import Account
from tests.support.networks import Node
from tests.support.sidecar import deliver
from tests.support.waiting import until

_AT_ONCE = 4

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
        """Have so many sessions now, and return their events."""
        events: list[bytes] = []
        while len(events) < count:  # a popup that is starved gives its event up
            with ThreadPoolExecutor(_AT_ONCE) as visitors:
                list(visitors.map(lambda _: visit(self, account, tls), range(count - len(events))))
            until(lambda: not any(server.processes() for server in self._servers))
            events += self._taken()
        return iter(events)

    def _taken(self) -> list[bytes]:
        """Take all events that there are, at least one."""
        spool = self._kept / "spool"
        events = [block + SEPARATOR for block in spool.read_bytes().split(SEPARATOR) if block]
        spool.unlink()
        return events

    def send(self, event: bytes) -> None:
        """Send an event to the sidecar; it has been counted then."""
        assert ACKNOWLEDGEMENT == deliver(self._keeper.socket, event)


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
