"""The socket: what popups send, as arrivals, and the acknowledgement once they are committed.

Owns the connections and no more: one epoll loop's worth of accepting and reading, bounded in each step, in
each connection and in their number, for whoever reaches the socket may send anything, or nothing. A
connection is a session: it says hello, and at the end brings its event; one that ends between the two was
killed. Nothing in here waits for anything but its own descriptors, or knows what an arrival is worth.
"""

import contextlib
import select
import socket
from collections.abc import Callable
from typing import Literal

from observability.arrivals.connection import Connection, accepted
from observability.arrivals.listener import BACKLOG
from observability.arrivals.parsing import KILLED, SOCKET, Arrival, Event, Malformed, Read, hello_trace, parse
from observability.event import LIMIT, SEPARATOR

ACKNOWLEDGEMENT = b"\n"
STRANGER_SECONDS = 10.0  # a popup says hello right after connecting
MAX_CONNECTIONS = 16384

_AT_ONCE = 512  # connections, and accepts, in one step
_MAX_PARKED = BACKLOG + 1
_PAUSE_SECONDS = 0.1  # where a limit is reached, others park in the backlog


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
        """Serve listener.

        wake: a descriptor that ends the wait when it is readable; clock: monotonic seconds;
        limit: how many connections may be open at a time
        """
        self._clock, self._limit, self._read_block = clock, limit, read
        self._paused_until = 0.0  # 0: not paused
        self._open: dict[int, Connection] = {}
        self._strangers: dict[int, float] = {}  # who said nothing yet, oldest first: until when it may
        self._heard: list[socket.SocketType] = []  # brought what is among found
        self._owed: list[socket.SocketType] = []
        self._found: list[Arrival] = []
        self.is_idle = True  # whether nothing was there at the last look
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
        """How many sessions are connected: said hello, and have not brought their event."""
        return max(0, len(self._open) - len(self._strangers))

    def listen(self, listener: socket.socket) -> None:
        """Accept from listener from now on."""
        listener.settimeout(0)
        self._listener = listener
        self._resume()

    def watch(self, wake: int) -> None:
        """End the wait, too, at each piece of news on a descriptor; nobody has to read it."""
        self._poll.register(wake, select.EPOLLIN | select.EPOLLET)

    def move(self, listener: socket.socket) -> None:
        """Accept from listener instead, and before that who is parked at the old one."""
        self._close_listener()
        self.listen(listener)

    def stop_listening(self) -> None:
        """Close the listening socket; who has connected is served on."""
        self._close_listener()
        self._poll.unregister(self._wake)

    def arrivals(self, timeout: float) -> list[Arrival]:
        """Wait for timeout seconds at most; what has come, a bounded piece of it."""
        ready = self._poll.poll(self._until_resumed(timeout), _AT_ONCE)
        self.is_idle = not ready
        for fd, _ in ready:
            if fd == self._listener.fileno():
                self._accept()
            elif fd in self._open:
                self._read(self._open[fd])
        self._dismiss_strangers()
        # An acknowledgement is owed for what the caller was given, and so can commit, and for nothing else.
        self._owed += self._heard
        found, self._found, self._heard = self._found, [], []
        return found

    def acknowledge(self) -> None:
        """Tell those whose events were among the last arrivals that they count, and let them go."""
        for peer in self._owed:
            # Who did not wait that long has left its event in the spool: it will be a duplicate.
            with contextlib.suppress(OSError):
                peer.send(ACKNOWLEDGEMENT, socket.MSG_DONTWAIT)
            peer.close()
        self._owed = []

    def close(self) -> None:
        """Leave everybody; what they still have to tell comes by the spool."""
        opened = (connection.peer for connection in self._open.values())
        for peer in (*opened, *self._heard, *self._owed):
            peer.close()
        self._listener.close()
        self._poll.close()

    def _close_listener(self) -> None:
        if not self._paused_until:
            self._accept(_MAX_PARKED)
        if not self._paused_until:
            # Closing does not do that where a service manager has the socket open, too.
            self._poll.unregister(self._listener)
        self._listener.close()
        self._paused_until = 0.0
        self.is_idle = False  # who was parked has not been looked at

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
                connection = Connection(accepted(self._listener))
            except BlockingIOError:
                return
            except OSError:  # no descriptor is left, or no memory
                self._pause()
                return
            # Often it has sent all by now, and then it is never polled.
            if not self._is_over(connection):
                self._keep(connection, deadline)

    def _keep(self, connection: Connection, deadline: float) -> None:
        """Wait for what else it sends."""
        self._open[connection.fd] = connection
        if not connection.trace:
            self._strangers[connection.fd] = deadline
        self._poll.register(connection.fd, select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        """Take what a connection that was waited for has sent."""
        if not self._is_over(connection) and connection.trace:
            self._strangers.pop(connection.fd, None)

    def _is_over(self, connection: Connection) -> bool:
        """Read what is there; True where nothing of it is to come any more."""
        try:
            data = connection.peer.recv(2 * LIMIT, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
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
        """Read one block; None where it was a hello, which another one follows."""
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
        """Take what it had to tell; it is closed once that is committed."""
        self._found.append(Arrival(SOCKET, what))
        self._forget(connection)
        self._heard.append(connection.peer)
        return True

    def _end(self, connection: Connection) -> None:
        """Take the end of a connection: of a session that was killed, if it had begun."""
        if connection.received:
            self._found.append(Arrival(SOCKET, Malformed("torn")))
        if connection.hello:
            self._found.append(Arrival(KILLED, self._read_block(connection.hello)))
        self._forget(connection)
        connection.peer.close()

    def _forget(self, connection: Connection) -> None:
        """Poll it no more, where it was kept."""
        if self._open.pop(connection.fd, None):
            self._strangers.pop(connection.fd, None)
            self._poll.unregister(connection.fd)

    def _dismiss_strangers(self) -> None:
        """Close those that said neither hello nor brought an event in time; they are not sessions."""
        while self._strangers:
            fd, deadline = next(iter(self._strangers.items()))
            if self._clock() < deadline:
                return
            connection = self._open[fd]
            if connection.received:
                self._found.append(Arrival(SOCKET, Malformed("too slow")))
            self._forget(connection)
            connection.peer.close()
