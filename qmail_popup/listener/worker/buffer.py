"""What a worker reads into, and what it reads at once, so that no client holds up the others."""

import socket

from qmail_popup.wire import wipe

CLEAR_CHUNK = 8192  # bytes: two lines of the greatest length
TLS_CHUNK = 16384  # as many as a record has (RFC 8446 section 5.1)
_SIZE = 1 << 16


class Buffer:
    """What all connections of a worker are read into, one after the other."""

    def __init__(self) -> None:
        """Make room for what one read brings, and for a record of TLS that had begun before."""
        self.bytes = bytearray(_SIZE)
        self.view = memoryview(self.bytes)

    def wipe(self, size: int) -> None:
        """Overwrite the first `size` bytes."""
        wipe(self.view[:size])


def receive(peer: socket.socket) -> bytes:
    """Return what has come of TLS, nothing at the end; BlockingIOError where nothing has, OSError."""
    return peer.recv(TLS_CHUNK, socket.MSG_DONTWAIT)
