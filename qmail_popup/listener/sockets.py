"""Listening sockets: where clients connect."""

import socket
from collections.abc import Iterable

from qmail_popup.listener.options import Endpoint

BACKLOG = 4096  # Linux caps it at net.core.somaxconn


def listen(endpoints: Iterable[Endpoint]) -> list[socket.socket]:
    """Listen at each of the endpoints; OSError, with the endpoint as its file name."""
    return [sock for endpoint in endpoints for sock in _listen(endpoint)]


def _listen(endpoint: Endpoint) -> list[socket.socket]:
    host, port = endpoint
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [_bound(family, name) for family, _, _, _, name in found]
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error


def _bound(family: int, name: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # or it would take 0.0.0.0's place, too
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.settimeout(0)
    return sock


def shown(sock: socket.socket) -> str:
    """Return where it listens, as people write it."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
