"""A worker's read buffer, and the size of one read, limited so that no client delays the others."""

import socket

CLEAR_CHUNK = 8192  # bytes: two lines of maximum length
TLS_CHUNK = 16384  # bytes: a record of maximum length (RFC 8446 section 5.1)
PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
TAKE = int(socket.MSG_TRUNC | socket.MSG_DONTWAIT)  # makes a TCP socket discard the bytes, tcp(7)
_SIZE = 1 << 16


class Buffer:
    """The read buffer that all connections of a worker share."""

    def __init__(self) -> None:
        """Allocate room for one read, and for a TLS record that began earlier."""
        self.bytes = bytearray(_SIZE)
        self.view = memoryview(self.bytes)

    def wipe(self, size: int) -> None:
        """Overwrite the first `size` bytes."""
        self.view[:size] = bytes(size)


def receive(peer: socket.SocketType) -> bytes:
    """Read TLS bytes; empty at end of file, BlockingIOError if there are none yet, OSError."""
    return peer.recv(TLS_CHUNK, socket.MSG_DONTWAIT)
