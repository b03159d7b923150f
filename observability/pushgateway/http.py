"""One HTTP request and the status of its answer, without ever blocking.

Owns one connection, which serves this request and no other: so the answer needs no framing. An exchange is
a generator: it yields what it waits for, as a descriptor and poll(2)'s events, and goes on when it is asked
to, ready or not. Only name look-ups are not like that; who cannot wait for one drives it in a thread.
"""

import contextlib
import functools
import select
import socket
import ssl
from collections.abc import Callable, Generator
from typing import TypeVar

CONNECT_SECONDS = 10.0
DEAD_SECONDS = 60  # without a sign of life from the other host; a stopped process is no dead host
_HEAD_MOST = 65536
_END = b"\r\n\r\n"
_INTERIM = range(100, 200)
_PIECE = 4096

_T = TypeVar("_T")
Wait = tuple[int, int]
Work = Generator[Wait, None, _T]

_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_SECONDS // 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    # In milliseconds; it goes for what was sent and not acknowledged, too, where keep-alive is silent.
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_SECONDS * 1000),
)


def exchange(
    peer: tuple[str, int], tls: ssl.SSLContext | None, request: bytes, clock: Callable[[], float]
) -> Work[int]:
    """Send request (head and body in one) to peer; return the status. OSError: the connection is dead."""
    with contextlib.ExitStack() as stack:
        connection = yield from _connected(peer, stack, clock)
        if tls:
            secured = tls.wrap_socket(connection, server_hostname=peer[0], do_handshake_on_connect=False)
            connection = stack.enter_context(secured)
            yield from _patiently(secured, secured.do_handshake, select.POLLIN, _late(clock))
        while request:
            send = functools.partial(connection.send, request)
            request = request[(yield from _patiently(connection, send, select.POLLOUT)) :]
        return (yield from _status(connection))


def _connected(
    peer: tuple[str, int], stack: contextlib.ExitStack, clock: Callable[[], float]
) -> Work[socket.socket]:
    """Connect to the first of the peer's addresses that lets us; the stack closes what was opened."""
    trouble = OSError(f"{peer[0]} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(*peer, type=socket.SOCK_STREAM):
        connection = stack.enter_context(socket.socket(family, kind, protocol))
        connection.settimeout(0)
        try:
            for option in _OPTIONS:
                connection.setsockopt(*option)
            # Asked again, connect(2) tells how the first one went.
            connect = functools.partial(connection.connect, address)
            yield from _patiently(connection, connect, select.POLLOUT, _late(clock))
        except OSError as error:
            trouble = error
        else:
            return connection
    raise trouble


def _late(clock: Callable[[], float]) -> Callable[[], bool]:
    deadline = clock() + CONNECT_SECONDS
    return lambda: clock() > deadline


def _status(connection: socket.socket) -> Work[int]:
    received = b""
    while (status := _final(received)) is None and len(received) < _HEAD_MOST:
        piece = yield from _patiently(connection, lambda: connection.recv(_PIECE), select.POLLIN)
        if not piece:
            break
        received += piece
    if status is None:
        raise ConnectionError("the connection ended without an answer")
    return status


def _final(received: bytes) -> int | None:
    """Return the answer's status, once its head is there; interim ones may come before (RFC 9110, 15.2)."""
    *heads, _rest = received.split(_END)
    for head in heads:
        version, _, status = head.partition(b" ")
        if not (version.startswith(b"HTTP/1.") and status[:3].isdigit()):
            raise ConnectionError("the answer is none of HTTP")
        if int(status[:3]) not in _INTERIM:
            return int(status[:3])
    return None


def _patiently(
    connection: socket.socket,
    attempt: Callable[[], _T],
    events: int,
    is_late: Callable[[], bool] = lambda: False,
) -> Work[_T]:
    """Attempt until it succeeds; in between, wait for events, or for what TLS needs first."""
    while True:
        try:
            return attempt()
        except ssl.SSLWantReadError:
            wanted = select.POLLIN
        except ssl.SSLWantWriteError:
            wanted = select.POLLOUT
        except BlockingIOError:
            wanted = events
        if is_late():
            raise TimeoutError("no connection in time")
        yield connection.fileno(), wanted
