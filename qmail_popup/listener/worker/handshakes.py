"""TLS handshakes in a worker: behind STLS, or before the greeting of POP3S.

What follows the line of STLS is still on the socket, so it is the handshake's: a command that was sent in
clear is no record of TLS, fails it, and is never executed. OpenSSL is not asked for anything before the first
byte has come, so that who connects and says nothing costs no more than in clear.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from qmail_popup.listener.ipc.frames import DISCONNECTED, TIMEOUT, TLS_FAILED
from qmail_popup.listener.process.loop import IN, OUT, Deadlines, Loop
from qmail_popup.listener.tls.suites import UNKNOWN
from qmail_popup.listener.worker.buffer import Buffer, receive
from qmail_popup.listener.worker.connection import Connection

if TYPE_CHECKING:
    from qmail_popup.listener.tls.engine import Server

SECONDS = 30  # of the login's time


class _Handshake:
    """One that is not done."""

    __slots__ = ("_handshakes", "connection")

    def __init__(self, handshakes: "Handshakes", connection: Connection) -> None:
        self._handshakes, self.connection = handshakes, connection

    def ready(self, _events: int) -> None:
        self._handshakes.turn(self.connection)


class Handshakes:
    """One worker's."""

    def __init__(
        self,
        loop: Loop,
        server: "Server",
        buffer: Buffer,
        *,
        done: Callable[[Connection], None],
        ended: Callable[[Connection, str], None],
    ) -> None:
        """done: called with who speaks TLS, watched by nobody; ended: with who does not, and how it ended."""
        self._loop, self._server, self._buffer = loop, server, buffer
        self._done, self._ended = done, ended
        self._open: Deadlines[Connection] = Deadlines(SECONDS, lambda late: ended(late, TIMEOUT))
        loop.timers.append(self._open)

    def begin(self, connection: Connection) -> None:
        """Wait for a client's first word of TLS; nobody watches its socket."""
        connection.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.tls = UNKNOWN
        self._open.set(connection)
        self._loop.watch(connection.peer.fileno(), _Handshake(self, connection))

    def forget(self, connection: Connection) -> None:
        """Wait no more for a client."""
        self._open.drop(connection)

    def turn(self, connection: Connection) -> None:
        """Take what has come, and send what it calls for."""
        was_full = bool(connection.unsent)
        try:
            failed = connection.transmit() if was_full else self._take(connection)
        except BlockingIOError:
            return
        if failed:
            self._ended(connection, failed)
        elif connection.secure and connection.secure.is_on:
            connection.tls, connection.suite = connection.secure.names
            self._open.drop(connection)
            self._loop.forget(connection.peer.fileno())
            self._done(connection)
        elif was_full != bool(connection.unsent):
            self._loop.change(connection.peer.fileno(), IN if was_full else OUT)

    def _take(self, connection: Connection) -> str:
        """Take what has come; how the session ended, if it did. BlockingIOError for nothing."""
        try:
            data = receive(connection.peer)
        except BlockingIOError:
            raise
        except OSError:
            data = b""
        if not data:  # a port that is only looked at is no handshake that has failed
            return TLS_FAILED if connection.secure or connection.greeted else DISCONNECTED
        secure = connection.secure = connection.secure or self._server.open()
        size = secure.receive(data, self._buffer.view)
        if size:
            connection.left = bytearray(self._buffer.view[:size])
            self._buffer.wipe(size)
        gone = connection.transmit(secure.pending())
        has_failed = not secure.is_on and (secure.has_failed or secure.has_ended)
        return TLS_FAILED if gone or has_failed else ""
