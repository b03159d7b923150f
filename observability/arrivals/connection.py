"""One popup's connection, made without what socket.socket costs: a sidecar makes thousands a second."""

import socket


class Connection:
    """One popup's: what is not a whole block yet, and what it said."""

    __slots__ = ("fd", "hello", "peer", "received", "trace")

    def __init__(self, fd: int) -> None:
        """Own fd."""
        # A third of the time that socket.socket takes, which makes enums of what is known here.
        self.peer = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
        self.fd = fd
        self.received = self.hello = b""
        self.trace = ""  # the hello's


def accepted(listener: socket.socket) -> int:
    """Return the descriptor of who is next; OSError.

    accept() makes enums of the family and the type of each, and an object of socket.socket: 3 us for nothing.
    """
    fd: int = listener._accept()[0]  # type: ignore[attr-defined]  # noqa: SLF001  in all Pythons there are
    return fd
