"""Delivers every session's hello and event from the spawner to the sidecar or spool, without blocking.

A session keeps its connection to the sidecar, so that one that is cut off counts as killed. This does for all
sessions at once what mirror.py does for one in the popup, with the same limits: two attempts and 250 ms, then
the event goes to the spool.
"""

import resource
import socket

from observability.mirror import ANSWER_SECONDS
from qmail_popup.listener.options import Options
from qmail_popup.listener.process.loop import IN, ONCE, Deadlines, Loop
from qmail_popup.listener.spawner.spooler import Spooler

# SocketType and plain integers: socket.socket, which converts to enums, takes twice the time.
_UNIX, _STREAM = int(socket.AF_UNIX), int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
_SPARE = 100  # descriptors for anything but clients and connections to the sidecar


class _Event:
    """An event not yet acknowledged."""

    __slots__ = ("_deliveries", "block", "is_last_try", "link")

    def __init__(self, deliveries: "Deliveries", block: bytes, link: socket.SocketType | None) -> None:
        self._deliveries, self.block, self.link = deliveries, block, link
        self.is_last_try = False

    def ready(self, _events: int) -> None:
        self._deliveries.answered(self)


class Deliveries:
    """All events not yet acknowledged or spooled."""

    def __init__(self, loop: Loop, sidecar: bytes, spooler: Spooler, *, max_link: int) -> None:
        """sidecar: path of its socket, or empty; max_link: highest descriptor of a connection to it."""
        self._loop, self._sidecar, self._spooler, self._max_link = loop, sidecar, spooler, max_link
        self._pending: Deadlines[_Event] = Deadlines(ANSWER_SECONDS, self._give_up)
        loop.timers.append(self._pending)

    def __len__(self) -> int:
        return len(self._pending) + len(self._spooler)

    def hello(self, block: bytes) -> socket.SocketType | None:
        """Tell the sidecar that a session has begun; return the connection, if any, for the session to keep.

        None if descriptors run short: the rest is reserved for logins.
        """
        if not self._sidecar:
            return None
        try:
            link = socket.SocketType(_UNIX, _STREAM)
        except OSError:  # out of descriptors
            return None
        try:
            if link.fileno() <= self._max_link:
                link.connect(self._sidecar)
                if link.send(block) == len(block):
                    return link
        except OSError:
            pass
        link.close()
        return None

    def event(self, block: bytes, link: socket.SocketType | None) -> None:
        """Deliver a session's event, on the connection from its hello if there is one."""
        event = _Event(self, block, link)
        if link and self._is_sent(link, block):
            self._await(event, link)
        else:
            self._retry(event)

    def answered(self, event: _Event) -> None:
        """Handle the acknowledgement, or the end of the connection."""
        if not event.link:
            return
        try:
            acknowledged = event.link.recv(1) != b""
        except BlockingIOError:
            self._loop.change(event.link.fileno(), IN | ONCE)
            return
        except OSError:
            acknowledged = False
        self._loop.closing(event.link.fileno())
        if acknowledged:
            self._pending.drop(event)
            event.link.close()
        else:
            self._retry(event)

    def _await(self, event: _Event, link: socket.SocketType) -> None:
        """Wait for an answer. ONCE, because a subprogram has copies of all descriptors until its exec."""
        self._loop.watch(link.fileno(), event, IN | ONCE)
        if event not in self._pending:
            self._pending.set(event)

    def _retry(self, event: _Event) -> None:
        if event.link:
            event.link.close()
        event.link = None if event.is_last_try else self.hello(event.block)  # connects and sends the event
        event.is_last_try = True
        if event.link:
            self._await(event, event.link)
        else:
            self._pending.drop(event)
            self._spooler.put(event.block)

    def _give_up(self, event: _Event) -> None:
        """Spool an event that the sidecar did not acknowledge in time."""
        if event.link:
            self._loop.forget(event.link.fileno())
            event.link.close()
        self._spooler.put(event.block)

    def _is_sent(self, link: socket.SocketType, block: bytes) -> bool:
        try:
            return link.send(block) == len(block)
        except OSError:
            return False


def max_link(options: Options) -> int:
    """Return the highest descriptor to use for a connection to the sidecar, leaving the rest for logins.

    Sessions whose records wait for room on descriptor 5 keep their connections; there may be 10,000 of them.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit - min(options.connections, limit // 4) - 3 * options.sessions - _SPARE
