"""A fake sidecar: a socket that the test itself answers, or not."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from observability.event import SEPARATOR
from tests.support.waiting import TIMEOUT

Block = dict[bytes, bytes]


class Caller:
    """One popup's connection."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer, self._received = peer, b""
        peer.settimeout(TIMEOUT)

    def block(self) -> Block | None:
        """Wait for the next block; None at end of file."""
        while SEPARATOR not in self._received:
            data = self._peer.recv(65536)
            if not data:
                assert b"" == self._received
                return None
            self._received += data
        block, _, self._received = self._received.partition(SEPARATOR)
        return unpacked(block)

    def acknowledge(self) -> None:
        """Acknowledge the event."""
        self._peer.send(b"\n")

    def close(self) -> None:
        """Close the connection."""
        self._peer.close()


class Listener:
    """A listening Unix stream socket, until the context is left."""

    def __init__(self, path: Path) -> None:
        """Listen at path."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._socket.settimeout(TIMEOUT)

    def accept(self) -> Caller:
        """Wait for the next connection."""
        return Caller(self._socket.accept()[0])

    @contextmanager
    def full(self) -> Iterator[None]:
        """Fill the backlog, so that no further client can connect."""
        with ExitStack() as stack:
            while True:
                caller = stack.enter_context(socket.socket(socket.AF_UNIX))
                caller.settimeout(0)
                try:
                    caller.connect(self._socket.getsockname())
                except BlockingIOError:
                    break
            yield

    def has_caller(self) -> bool:
        """Return whether another client has connected."""
        self._socket.settimeout(0)
        try:
            self._socket.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._socket.close()


def unpacked(block: bytes) -> Block:
    """Parse a block; checks that names are unique and that the last entry is END=1."""
    entries = [entry.partition(b"=") for entry in block.split(b"\0")]
    named = {name: value for name, _, value in entries}
    assert len(entries) == len(named)
    assert (b"END", b"=", b"1") == entries[-1]
    return named


def left_in(spool: Path) -> list[Block]:
    """Return the blocks in a spool directory."""
    file = spool / "spool"
    data = file.read_bytes() if file.exists() else b""
    return [unpacked(block) for block in data.split(SEPARATOR) if block]
