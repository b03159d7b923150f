"""One HTTP request and the status of its answer, without blocking.

Owns one connection, used for this request only. h11 handles HTTP, this module the sockets. An exchange is a
generator: it yields the descriptor and poll(2) events it waits for, and may be resumed at any time, ready or
not. Only name look-ups block; a caller that cannot wait for one runs the exchange in a thread.
"""

import contextlib
import functools
import select
import socket
import ssl
from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

import h11

CONNECT_TIMEOUT = 10.0
DEAD_SECONDS = 60  # without a packet from the other host; a stopped process does not count as a dead host
MAX_ANSWER = 65536  # bytes up to the end of the answer's head, interim answers included
_PIECE = 4096

_T = TypeVar("_T")
Wait = tuple[int, int]
Work = Generator[Wait, None, _T]

_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_SECONDS // 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    # In milliseconds. Also covers unacknowledged data, during which keep-alive sends no probes.
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_SECONDS * 1000),
)


class Peer(NamedTuple):
    """The server: host and port, and a context for TLS."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class _Timeout:
    """A time limit for one step, by a monotonic clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._deadline = clock, clock() + CONNECT_TIMEOUT

    def check(self) -> None:
        if self._clock() > self._deadline:
            raise TimeoutError("connection timed out")


def exchange(peer: Peer, request: h11.Request, body: bytes, clock: Callable[[], float]) -> Work[int]:
    """Send request and body to peer; return the answer's status. OSError: the connection is dead."""
    protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER)
    parts = (request, h11.Data(data=body), h11.EndOfMessage())
    with contextlib.ExitStack() as stack:
        connection = yield from _connected(peer, stack, clock)
        if peer.tls:
            # The TLS socket owns the descriptor from here on.
            secured = peer.tls.wrap_socket(
                connection, server_hostname=peer.host, do_handshake_on_connect=False
            )
            connection = stack.enter_context(secured)
            yield from _retried(connection, secured.do_handshake, select.POLLIN, _Timeout(clock))
        yield from _sent(connection, b"".join(protocol.send(part) or b"" for part in parts))
        return (yield from _status(connection, protocol))


def _connected(peer: Peer, stack: contextlib.ExitStack, clock: Callable[[], float]) -> Work[socket.socket]:
    """Connect to the first of the peer's addresses that accepts; the stack closes all sockets."""
    failure = OSError(f"{peer.host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(*peer[:2], type=socket.SOCK_STREAM):
        connection = stack.enter_context(socket.socket(family, kind, protocol))
        connection.settimeout(0)
        try:
            for option in _OPTIONS:
                connection.setsockopt(*option)
            # Called again, connect(2) reports the result of the first call.
            connect = functools.partial(connection.connect, address)
            yield from _retried(connection, connect, select.POLLOUT, _Timeout(clock))
        except OSError as error:
            failure = error
        else:
            return connection
    raise failure


def _sent(connection: socket.socket, data: bytes) -> Work[None]:
    """Send all of data, at once if the connection takes it."""
    while data:
        send = functools.partial(connection.send, data)
        data = data[(yield from _retried(connection, send, select.POLLOUT)) :]


def _status(connection: socket.socket, protocol: h11.Connection) -> Work[int]:
    """Return the final status; interim answers (RFC 9110, section 15.2) may precede it."""
    received = 0
    while received < MAX_ANSWER:
        try:
            event = protocol.next_event()
        except h11.RemoteProtocolError as error:
            raise ConnectionError(f"the response is not HTTP: {error}") from error
        if isinstance(event, h11.Response):
            return event.status_code
        if event is h11.NEED_DATA:
            data = yield from _retried(connection, lambda: connection.recv(_PIECE), select.POLLIN)
            if not data:
                raise ConnectionError("the connection was closed before the response was complete")
            received += len(data)
            protocol.receive_data(data)
    raise ConnectionError("the response header is too long")


def _retried(
    connection: socket.socket, attempt: Callable[[], _T], events: int, timeout: _Timeout | None = None
) -> Work[_T]:
    """Call attempt until it succeeds; in between, wait for events, or for what TLS needs first."""
    while True:
        try:
            return attempt()
        except ssl.SSLWantReadError:
            wanted = select.POLLIN
        except ssl.SSLWantWriteError:
            wanted = select.POLLOUT
        except BlockingIOError:
            wanted = events
        if timeout:
            timeout.check()
        yield connection.fileno(), wanted
