"""Closes connections after the last reply without losing it.

Closing a socket with unread or still arriving data resets the connection, and some systems then discard what
they have received. A TLS client answers our close_notify with its own. So only our direction is shut down,
and input is discarded until the client closes or two seconds have passed.
"""

import socket
from contextlib import suppress

from qmail_popup.listener.process.loop import Deadlines, Loop
from qmail_popup.listener.worker.buffer import TAKE, Buffer
from qmail_popup.listener.worker.connection import Connection

_SECONDS = 2.0
_MAX = 1000  # clients; beyond that the oldest is closed at once


class _LingeringClose:
    """One connection being closed."""

    __slots__ = ("_lingering", "peer")

    def __init__(self, lingering: "LingeringCloses", peer: socket.SocketType) -> None:
        self._lingering, self.peer = lingering, peer

    def ready(self, _events: int) -> None:
        self._lingering.discard(self)


class LingeringCloses:
    """One worker's connections being closed."""

    def __init__(self, loop: Loop, buffer: Buffer, max_open: int = _MAX) -> None:
        """loop: watches them; buffer: nothing is written to it."""
        self._loop, self._buffer, self._max_open = loop, buffer, max_open
        self._open: Deadlines[_LingeringClose] = Deadlines(_SECONDS, self._hang_up)
        loop.timers.append(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def close(self, connection: Connection) -> None:
        """Close a connection that did not log in: at once without TLS, else when the client has closed."""
        secure = connection.secure
        if not secure:
            connection.peer.close()
            return
        if secure.is_on and not connection.unsent:
            connection.transmit(secure.close())
        self.linger(connection.peer)

    def linger(self, peer: socket.SocketType) -> None:
        """Close a connection after the client has received everything; the loop must not be watching it."""
        try:
            peer.shutdown(socket.SHUT_WR)
        except OSError:  # the client is gone
            peer.close()
            return
        closing = _LingeringClose(self, peer)
        self._loop.watch(peer.fileno(), closing)
        self._open.set(closing)
        if len(self._open) > self._max_open:
            first = next(iter(self._open))
            self._open.drop(first)
            self._hang_up(first)

    def discard(self, closing: _LingeringClose) -> None:
        """Discard input up to end of file."""
        with suppress(BlockingIOError):
            if not self._discarded(closing.peer):
                self._open.drop(closing)
                self._hang_up(closing)

    def _discarded(self, peer: socket.SocketType) -> int:
        """Discard input; return its size, 0 at end of file or on errors; BlockingIOError if there is none."""
        try:
            return peer.recv_into(self._buffer.bytes, 0, TAKE)
        except BlockingIOError:
            raise
        except OSError:
            return 0

    def _hang_up(self, closing: _LingeringClose) -> None:
        self._loop.closing(closing.peer.fileno())
        closing.peer.close()
