"""A popup's connection, without the overhead of socket.socket: a sidecar accepts thousands a second."""

import socket


class Connection:
    """A popup's connection: its hello, and bytes of an incomplete block."""

    __slots__ = ("fd", "hello", "peer", "received", "trace")

    def __init__(self, fd: int) -> None:
        """Take ownership of `fd`."""
        # A third of the time of socket.socket, which converts family and type to enums.
        self.peer = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
        self.fd = fd
        self.received = self.hello = b""
        self.trace = ""  # from the hello


def accepted(listener: socket.socket) -> int:
    """Accept a connection and return its descriptor; OSError.

    socket.accept() also converts family and type to enums and creates a socket.socket: 3 us for nothing.
    """
    fd: int = listener._accept()[0]  # type: ignore[attr-defined]  # noqa: SLF001  in every Python version
    return fd
