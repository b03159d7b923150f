"""Clients to whom all is said: each gets a moment to hear it, and to say goodbye too.

A socket that is closed while something of the client's is unread, or still comes, resets the connection, and
some systems then throw away what they have received. A client that speaks TLS answers our close_notify with
its own. So our direction is closed, and what comes is thrown away, until the client closes or two seconds
have passed.
"""

import socket
from contextlib import suppress

from qmail_popup.listener.process.loop import Deadlines, Loop
from qmail_popup.listener.worker.connection import Connection

_SECONDS = 2.0
_MAX = 1000  # clients; then the first is not waited for any more
_AT_ONCE = 65536


class _Farewell:
    """One client."""

    __slots__ = ("_farewells", "peer")

    def __init__(self, farewells: "Farewells", peer: socket.socket) -> None:
        self._farewells, self.peer = farewells, peer

    def ready(self, _events: int) -> None:
        self._farewells.hear(self)


class Farewells:
    """One worker's."""

    def __init__(self, loop: Loop) -> None:
        """Begin with none."""
        self._loop = loop
        self._open: Deadlines[_Farewell] = Deadlines(_SECONDS, self._hang_up)
        loop.timers.append(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def part(self, connection: Connection) -> None:
        """Close a connection that does not log in; one in clear has nothing more to say."""
        secure = connection.secure
        if not secure:
            connection.peer.close()
            return
        if secure.is_on and not connection.unsent:
            connection.transmit(secure.close())
        self.take(connection.peer)

    def take(self, peer: socket.socket) -> None:
        """Close a client's connection, which is watched by nobody, once it has heard all."""
        try:
            peer.shutdown(socket.SHUT_WR)
        except OSError:  # it has gone
            peer.close()
            return
        farewell = _Farewell(self, peer)
        self._loop.watch(peer.fileno(), farewell)
        self._open.set(farewell)
        if len(self._open) > _MAX:
            first = next(iter(self._open))
            self._open.drop(first)
            self._hang_up(first)

    def hear(self, farewell: _Farewell) -> None:
        """Throw away what comes, up to the end."""
        with suppress(BlockingIOError):
            if not _received(farewell.peer):
                self._open.drop(farewell)
                self._hang_up(farewell)

    def _hang_up(self, farewell: _Farewell) -> None:
        self._loop.closing(farewell.peer.fileno())
        farewell.peer.close()


def _received(peer: socket.socket) -> bytes:
    """Return what has come, nothing at the end; BlockingIOError."""
    try:
        return peer.recv(_AT_ONCE, socket.MSG_DONTWAIT)
    except BlockingIOError:
        raise
    except OSError:
        return b""
