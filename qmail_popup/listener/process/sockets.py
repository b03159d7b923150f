"""Listening sockets: where clients connect, and what they speak there from the first byte.

Bound here, or handed in by a service manager (sd_listen_fds(3)), whose names for them are the two that there
are. What is handed in is moved away from the descriptors that have a meaning for a session.
"""

import fcntl
import os
import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from qmail_popup.listener.options import Endpoint
from qmail_popup.listener.process.processes import STANDARD

BACKLOG = 4096  # Linux caps it at net.core.somaxconn
POP3, POP3S = "pop3", "pop3s"
_FIRST_HANDED_IN = 3  # SD_LISTEN_FDS_START
_MAX_DIGITS = 6  # of how many there are: with more of them no descriptor is open, either
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Listening(NamedTuple):
    """A listening socket, and POP3 or POP3S."""

    kind: str
    socket: socket.socket

    def __str__(self) -> str:
        """Return where it listens, as people write it."""
        host, port = self.socket.getsockname()[:2]
        return f"{self.kind} on [{host}]:{port}" if ":" in host else f"{self.kind} on {host}:{port}"


class NotHandedInError(Exception):
    """What a service manager says that it hands in is not there, or nothing that can be served."""


def listen(kind: str, endpoints: Iterable[Endpoint]) -> list[Listening]:
    """Listen at each of the endpoints; OSError, with the endpoint as its file name."""
    return [Listening(kind, sock) for endpoint in endpoints for sock in _listen(endpoint)]


def handed_in(environ: Mapping[bytes, bytes]) -> list[Listening]:
    """Return what is handed in; NotHandedInError. A socket without a name is one of POP3."""
    told = environ.get(b"LISTEN_FDS", b"")
    if environ.get(b"LISTEN_PID") != b"%d" % os.getpid() or not told.isdigit() or not told.strip(b"0"):
        return []
    count = int(told[:_MAX_DIGITS])
    given = environ.get(b"LISTEN_FDNAMES")
    names = [POP3] * count if given is None else os.fsdecode(given).split(":")
    if len(names) != count:
        raise NotHandedInError(f"{count} sockets are handed in, but LISTEN_FDNAMES names {len(names)}")
    return [Listening(_known(name), _moved(fd)) for fd, name in enumerate(names, _FIRST_HANDED_IN)]


def _known(name: str) -> str:
    if name not in (POP3, POP3S):
        raise NotHandedInError(f"a socket is handed in as {name!r}, which is neither {POP3} nor {POP3S}")
    return name


def _moved(fd: int) -> socket.socket:
    """Return the socket that is `fd`, at a descriptor that has no other meaning."""
    try:
        sock = socket.socket(fileno=fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STANDARD.stop))
        os.close(fd)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise NotHandedInError(f"descriptor {fd} is handed in, but is no socket: {error.strerror}") from error
    if not listens or sock.family not in _FAMILIES:
        raise NotHandedInError(f"descriptor {fd} is handed in, but does not listen for TCP")
    sock.settimeout(0)
    return sock


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
