"""Clients of a TLS server that disconnect at every point of a session, cleanly or by a reset.

Each is a function of its connection, called after the greeting. LOGINS send PASS, and each of them must get
one record, counted once; OTHERS do not.
"""

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress

from tests.support.server import HOST
from tests.support.waiting import TIMEOUT

_RESET = struct.pack("ii", 1, 0)


def reset_at_close(client: socket.socket) -> None:
    """Have close(2) reset the connection, see socket(7)."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class Connection:
    """One client, with or without TLS."""

    def __init__(self, port: int) -> None:
        """Connect."""
        self._socket = socket.create_connection((HOST, port), timeout=TIMEOUT)

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Switch to TLS."""
        self._socket = context.wrap_socket(self._socket, server_hostname=HOST)

    def send(self, *lines: bytes) -> None:
        """Send all lines at once, without waiting for replies."""
        self._socket.sendall(b"".join(line + b"\r\n" for line in lines))

    def ask(self, line: bytes) -> bytes:
        """Send a line and return the reply."""
        self.send(line)
        return self.reply()

    def reply(self) -> bytes:
        """Return the next line."""
        got = b""
        while not got.endswith(b"\n") and (byte := self._socket.recv(1)):
            got += byte
        return got

    def leave(self) -> None:
        """Send close_notify, if over TLS, and close."""
        with suppress(OSError):  # the server may have closed first
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket = self._socket.unwrap()
        self._socket.close()

    def reset(self) -> None:
        """Reset the connection, so that the server's next read fails."""
        reset_at_close(self._socket)
        self._socket.close()


def _unheard(client: Connection) -> None:
    client.ask(b"USER refused")
    client.send(b"PASS x")


def _refused(client: Connection) -> None:
    client.ask(b"USER refused")
    assert client.ask(b"PASS x").startswith(b"-ERR")


def _accepted(client: Connection) -> None:
    client.ask(b"USER accepted")
    assert client.ask(b"PASS x").startswith(b"+OK")
    client.ask(b"RETR 1")


def _quits(client: Connection) -> None:
    client.ask(b"QUIT")


def _named(client: Connection) -> None:
    client.ask(b"USER x")


def _silent(_client: Connection) -> None:
    pass


Doing = Callable[[Connection], None]
LOGINS: tuple[Doing, ...] = (_unheard, _refused, _accepted)
OTHERS: tuple[Doing, ...] = (_quits, _named, _silent)
WAYS_OUT: tuple[Doing, ...] = (Connection.leave, Connection.reset)
