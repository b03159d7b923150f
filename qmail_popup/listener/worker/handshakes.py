"""TLS handshakes in a worker: after STLS, or before the greeting of POP3S.

Bytes after the STLS command are still on the socket and so become part of the handshake: a command injected
in cleartext is not a TLS record, makes the handshake fail, and is never executed. It may hold a password, so
OpenSSL, which would leave copies of it in memory, does not get it. OpenSSL is not used before the first byte
arrives, so a silent client costs no more than without TLS.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from qmail_popup.listener.ipc.frames import DISCONNECTED, TIMEOUT, TLS_FAILED
from qmail_popup.listener.process.loop import IN, OUT, Deadlines, Loop
from qmail_popup.listener.tls.suites import UNKNOWN
from qmail_popup.listener.worker.buffer import TLS_CHUNK, Buffer
from qmail_popup.listener.worker.connection import Connection

if TYPE_CHECKING:
    from qmail_popup.listener.tls.engine import Secure, Server

SECONDS = 30  # part of the login timeout
_HANDSHAKE = 22  # first byte of a handshake record (RFC 8446 section 5.1)


class _Handshake:
    """An incomplete handshake."""

    __slots__ = ("_handshakes", "connection")

    def __init__(self, handshakes: "Handshakes", connection: Connection) -> None:
        self._handshakes, self.connection = handshakes, connection

    def ready(self, _events: int) -> None:
        self._handshakes.turn(self.connection)


class Handshakes:
    """One worker's incomplete handshakes."""

    def __init__(
        self,
        loop: Loop,
        server: "Server",
        buffer: Buffer,
        *,
        done: Callable[[Connection], None],
        ended: Callable[[Connection, str], None],
    ) -> None:
        """done: called with a connection after its handshake, unwatched; ended: after a failed one."""
        self._loop, self._server, self._buffer = loop, server, buffer
        self._done, self._ended = done, ended
        self._open: Deadlines[Connection] = Deadlines(SECONDS, lambda late: ended(late, TIMEOUT))
        loop.timers.append(self._open)

    def begin(self, connection: Connection) -> None:
        """Wait for a client's handshake; the loop must not be watching its socket."""
        connection.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.tls = UNKNOWN
        self._open.set(connection)
        self._loop.watch(connection.peer.fileno(), _Handshake(self, connection))

    def forget(self, connection: Connection) -> None:
        """Stop waiting for a client."""
        self._open.drop(connection)

    def turn(self, connection: Connection) -> None:
        """Continue a handshake with received bytes, or send unsent ones."""
        was_full = bool(connection.unsent)
        try:
            failed = _send_rest(connection) if was_full else self._take(connection)
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
        """Read; return how the session ended, if it did. BlockingIOError if nothing arrived."""
        buffer = self._buffer
        try:
            came = connection.peer.recv_into(buffer.bytes, TLS_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise
        except OSError:
            came = 0
        if not came:  # a port scan is not a failed handshake
            return TLS_FAILED if connection.secure or connection.greeted else DISCONNECTED
        if not connection.secure:
            connection.secure = self._server.open()
            if buffer.bytes[0] != _HANDSHAKE:
                buffer.wipe(came)
                return TLS_FAILED
        return self._shake(connection, connection.secure, buffer.view[:came])

    def _shake(self, connection: Connection, secure: "Secure", data: memoryview) -> str:
        """Continue with received bytes, which are in the buffer; return how the session ended, if it did."""
        size = secure.receive(data, self._buffer.view)
        if size:
            connection.left = bytearray(self._buffer.view[:size])
        self._buffer.wipe(max(size, len(data)))
        gone = connection.transmit(secure.pending())
        has_failed = not secure.is_on and (secure.has_failed or secure.has_ended)
        return TLS_FAILED if gone or has_failed else ""


def _send_rest(connection: Connection) -> str:
    """Send the rest of a flight; return how the session ended, if it did."""
    return TLS_FAILED if connection.transmit() else ""
