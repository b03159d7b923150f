"""The socket: reads popups' events as arrivals, and acknowledges them once committed.

Owns only the connections: accepts and reads in one epoll loop, with limits on each step, each connection and
their number, because any process that can reach the socket may send anything or nothing. A connection is a
session: it sends a hello and at its end the event; one that closes in between was killed. Waits only for its
own descriptors, and must not know how arrivals are counted.
"""

import select
import socket
from collections.abc import Callable
from typing import Literal

from observability.arrivals.connection import Connection, accepted, acknowledge, received
from observability.arrivals.hello import hello_trace, whole_session
from observability.arrivals.listener import BACKLOG
from observability.arrivals.parsing import KILLED, SOCKET, Arrival, Event, Malformed, Read, parse
from observability.event import LIMIT, SEPARATOR

STRANGER_SECONDS = 10.0  # a popup sends its hello right after connecting
MAX_CONNECTIONS = 16384

_AT_ONCE = 512  # connections, and accepts, in one step
_MAX_PARKED = BACKLOG + 1
_PAUSE_SECONDS = 0.1  # when a limit is reached; clients then wait in the backlog


class Intake:
    """All connections of one listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        wake: int,
        clock: Callable[[], float],
        limit: int = MAX_CONNECTIONS,
        read: Read = parse,
    ) -> None:
        """Accept connections from `listener`.

        wake: descriptor that ends the wait when readable; clock: monotonic seconds;
        limit: maximum number of open connections
        """
        self._clock, self._limit, self._read_block = clock, limit, read
        self._paused_until = 0.0  # 0: not paused
        self._open: dict[int, Connection] = {}
        self._strangers: dict[int, float] = {}  # connections without a hello, oldest first: deadline
        self._senders: list[socket.SocketType] = []  # of the events in _found
        self._to_acknowledge: list[socket.SocketType] = []
        self._found: list[Arrival] = []
        self.is_idle = True  # whether the last poll found nothing
        self._poll = select.epoll()
        self._wake = wake
        self._poll.register(wake, select.EPOLLIN)
        self.listen(listener)

    @property
    def address(self) -> str:
        """Where popups connect."""
        return str(self._listener.getsockname())

    @property
    def active(self) -> int:
        """Number of connected sessions: those that have sent a hello but not their event."""
        return max(0, len(self._open) - len(self._strangers))

    def listen(self, listener: socket.socket) -> None:
        """Accept from `listener` from now on."""
        listener.settimeout(0)
        self._listener = listener
        self._resume()

    def watch(self, wake: int) -> None:
        """Also end the wait whenever `wake` is written to; it need not be read (edge-triggered)."""
        self._poll.register(wake, select.EPOLLIN | select.EPOLLET)

    def move(self, listener: socket.socket) -> None:
        """Accept from `listener` instead, after accepting connections that wait on the old one."""
        self._close_listener()
        self.listen(listener)

    def stop_listening(self) -> None:
        """Close the listening socket, but keep serving open connections."""
        self._close_listener()
        self._poll.unregister(self._wake)

    def arrivals(self, timeout: float) -> list[Arrival]:
        """Wait for at most `timeout` seconds; return a bounded number of arrivals."""
        ready = self._poll.poll(self._until_resumed(timeout), _AT_ONCE)
        self.is_idle = not ready
        for fd, _ in ready:
            if fd == self._listener.fileno():
                self._accept()
            elif fd in self._open:
                self._read(self._open[fd])
        self._dismiss_strangers()
        # Acknowledge only what was returned to the caller, which commits it.
        self._to_acknowledge += self._senders
        found, self._found, self._senders = self._found, [], []
        return found

    def acknowledge(self) -> None:
        """Acknowledge the last arrivals and close their connections."""
        for peer in self._to_acknowledge:
            acknowledge(peer)
        self._to_acknowledge = []

    def close(self) -> None:
        """Close all connections; popups spool the events still to come."""
        opened = (connection.peer for connection in self._open.values())
        for peer in (*opened, *self._senders, *self._to_acknowledge):
            peer.close()
        self._listener.close()
        self._poll.close()

    def _close_listener(self) -> None:
        if not self._paused_until:
            self._accept(_MAX_PARKED)
        if not self._paused_until:
            # close(2) does not do that if a service manager also has the socket open.
            self._poll.unregister(self._listener)
        self._listener.close()
        self._paused_until = 0.0
        self.is_idle = False  # the connections just accepted have not been polled

    def _until_resumed(self, timeout: float) -> float:
        if self._paused_until and self._clock() >= self._paused_until:
            self._resume()
        return min(timeout, _PAUSE_SECONDS) if self._paused_until else timeout

    def _resume(self) -> None:
        self._paused_until = 0.0
        self._poll.register(self._listener, select.EPOLLIN)

    def _pause(self) -> None:
        self._poll.unregister(self._listener)
        self._paused_until = self._clock() + _PAUSE_SECONDS

    def _accept(self, limit: int = _AT_ONCE) -> None:
        deadline = self._clock() + STRANGER_SECONDS
        for _ in range(limit):
            if len(self._open) >= self._limit:
                self._pause()
                return
            try:
                peer = accepted(self._listener)
            except BlockingIOError:
                return
            except OSError:  # out of descriptors or memory
                self._pause()
                return
            self._begin(peer, deadline)

    def _begin(self, peer: socket.SocketType, deadline: float) -> None:
        """Read from a new connection; often everything has been sent already, so it need not be polled."""
        data = received(peer)
        what = self._read_block(session) if data and (session := whole_session(data)) else None
        if isinstance(what, Event) and not what.is_hello:
            self._found.append(Arrival(SOCKET, what))
            self._senders.append(peer)
            return
        connection = Connection(peer)
        if not self._is_over(connection, data):
            self._keep(connection, deadline)

    def _keep(self, connection: Connection, deadline: float) -> None:
        """Poll a connection for more."""
        self._open[connection.fd] = connection
        if not connection.trace:
            self._strangers[connection.fd] = deadline
        self._poll.register(connection.fd, select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        """Read from a polled connection."""
        if not self._is_over(connection, received(connection.peer)) and connection.trace:
            self._strangers.pop(connection.fd, None)

    def _is_over(self, connection: Connection, data: bytes | None) -> bool:
        """Take what was read; return True if the connection is done."""
        if data is None:
            return False
        if data:
            return self._take(connection, data)
        self._end(connection)
        return True

    def _take(self, connection: Connection, data: bytes) -> bool:
        *blocks, rest = (connection.received + data).split(SEPARATOR, 2)
        for block in blocks:
            if what := self._last(connection, block):
                return self._finish(connection, what)
        connection.received = rest
        return len(rest) >= LIMIT and self._finish(connection, Malformed("too long"))

    def _last(self, connection: Connection, block: bytes) -> Event | Malformed | None:
        """Parse a block; None if it is a hello, after which the event is still to come."""
        if not connection.trace and (trace := hello_trace(block)):
            connection.trace, connection.hello = trace, block
            return None
        what = self._read_block(block)
        if isinstance(what, Malformed):
            return what
        if connection.trace and connection.trace != what.trace:
            return Malformed("an identity other than the hello's")
        if not what.is_hello:
            return what
        if connection.trace:
            return Malformed("a second hello")
        connection.trace, connection.hello = what.trace, block
        return None

    def _finish(self, connection: Connection, what: Event | Malformed) -> Literal[True]:
        """Add the final arrival of a connection, to be closed once that is committed."""
        self._found.append(Arrival(SOCKET, what))
        self._forget(connection)
        self._senders.append(connection.peer)
        return True

    def _end(self, connection: Connection) -> None:
        """Handle end of file: after a hello, the session was killed."""
        if connection.received:
            self._found.append(Arrival(SOCKET, Malformed("torn")))
        if connection.hello:
            self._found.append(Arrival(KILLED, self._read_block(connection.hello)))
        self._forget(connection)
        connection.peer.close()

    def _forget(self, connection: Connection) -> None:
        """Stop polling a connection, if it was polled."""
        if self._open.pop(connection.fd, None):
            self._strangers.pop(connection.fd, None)
            self._poll.unregister(connection.fd)

    def _dismiss_strangers(self) -> None:
        """Close connections that sent neither hello nor event in time; they are not sessions."""
        while self._strangers:
            fd, deadline = next(iter(self._strangers.items()))
            if self._clock() < deadline:
                return
            connection = self._open[fd]
            if connection.received:
                self._found.append(Arrival(SOCKET, Malformed("too slow")))
            self._forget(connection)
            connection.peer.close()
