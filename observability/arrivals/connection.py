"""A popup's connection, without the overhead of socket.socket: a sidecar accepts thousands a second."""

import socket

from observability.event import LIMIT

ACKNOWLEDGEMENT = b"\n"


class Connection:
    """A popup's connection while more is to come: its hello, and bytes of an incomplete block."""

    __slots__ = ("fd", "hello", "peer", "received", "trace")

    def __init__(self, peer: socket.SocketType) -> None:
        """Take ownership of `peer`."""
        self.peer, self.fd = peer, peer.fileno()
        self.received = self.hello = b""
        self.trace = ""  # from the hello


def accepted(listener: socket.socket) -> socket.SocketType:
    """Accept a connection; OSError.

    socket.accept() also converts family and type to enums and creates a socket.socket: 3 us for nothing.
    """
    fd = listener._accept()[0]  # type: ignore[attr-defined]  # noqa: SLF001  in every Python version
    return socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)


def received(peer: socket.SocketType) -> bytes | None:
    """Return what a popup has sent, empty at its end; None if nothing is there yet."""
    try:
        return peer.recv(2 * LIMIT, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def acknowledge(peer: socket.SocketType) -> None:
    """Acknowledge a popup's event, if it still waits, and close the connection."""
    try:
        peer.send(ACKNOWLEDGEMENT, socket.MSG_DONTWAIT)
    except OSError:
        pass  # it has spooled its event, which will be a duplicate
    finally:
        peer.close()
