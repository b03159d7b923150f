"""Listening sockets, each for POP3 or POP3S.

They are bound here or passed by a service manager (sd_listen_fds(3)), which names them pop3 or pop3s. Passed
sockets are moved away from the descriptors that have a fixed meaning for a session.
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
_MAX_DIGITS = 6  # of the count; a number cut short is still far beyond any open descriptor
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Listening(NamedTuple):
    """A listening socket, and POP3 or POP3S."""

    kind: str
    socket: socket.socket

    def __str__(self) -> str:
        """Return protocol and address for a log line."""
        host, port = self.socket.getsockname()[:2]
        return f"{self.kind} on [{host}]:{port}" if ":" in host else f"{self.kind} on {host}:{port}"


class NotHandedInError(Exception):
    """A socket announced by the service manager is missing or unsuitable."""


def listen(kind: str, endpoints: Iterable[Endpoint]) -> list[Listening]:
    """Listen on each endpoint; OSError with the endpoint as its file name."""
    return [Listening(kind, sock) for endpoint in endpoints for sock in _listen(endpoint)]


def handed_in(environ: Mapping[bytes, bytes]) -> list[Listening]:
    """Return the sockets passed by the service manager; NotHandedInError. Unnamed ones are for POP3."""
    number = environ.get(b"LISTEN_FDS", b"")
    if environ.get(b"LISTEN_PID") != b"%d" % os.getpid() or not number.isdigit() or not number.strip(b"0"):
        return []
    count = int(number[:_MAX_DIGITS])
    given = environ.get(b"LISTEN_FDNAMES")
    names = [POP3] * count if given is None else os.fsdecode(given).split(":")
    if len(names) != count:
        raise NotHandedInError(f"{count} sockets were passed in, but LISTEN_FDNAMES names {len(names)}")
    return [Listening(_known(name), _moved(fd)) for fd, name in enumerate(names, _FIRST_HANDED_IN)]


def _known(name: str) -> str:
    if name not in (POP3, POP3S):
        raise NotHandedInError(f"a socket was passed in as {name!r}, which is neither {POP3} nor {POP3S}")
    return name


def _moved(fd: int) -> socket.socket:
    """Return the socket `fd`, moved to a descriptor without a fixed meaning."""
    try:
        sock = socket.socket(fileno=fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STANDARD.stop))
        os.close(fd)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise NotHandedInError(
            f"descriptor {fd} was passed in, but is not a socket: {error.strerror}"
        ) from error
    if not listens or sock.family not in _FAMILIES:
        raise NotHandedInError(f"descriptor {fd} was passed in, but is not a listening TCP socket")
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
        if family == socket.AF_INET6:  # or [::] would also take 0.0.0.0
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.settimeout(0)
    return sock
