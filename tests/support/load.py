"""Load: clients that connect in a loop, each soon after the one before has its answer."""

import socket
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from tests.support.background import Repeated
from tests.support.resident import HOST, read_all
from tests.support.waiting import TIMEOUT, until


class Client(Protocol):
    """A socket, or TLS on one."""

    def sendall(self, data: bytes, /) -> object:
        """Send data."""

    def recv(self, size: int, /) -> bytes:
        """Receive data; empty at end of file."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


Connect = Callable[[], Client]

# Before each. Some still come at every moment; without a pause they would use all of the machine's time, and
# what happens meanwhile would have to wait for that.
_PAUSE_SECONDS = 0.04


def dial(port: int) -> socket.socket:
    """Connect to a local port."""
    return socket.create_connection((HOST, port), TIMEOUT)


class Load(Repeated):
    """Runs `clients` clients at a time, until stopped or the context is left.

    answers: everything that each client received; for a failed connection, the error's text
    """

    def __init__(self, connect: int | Connect, said: bytes, *, clients: int) -> None:
        """connect: a port, or a function that connects; said: sent by each client at once."""
        super().__init__(self._come, pause=_PAUSE_SECONDS, threads=clients)
        self.answers: list[bytes] = []
        self._connect: Connect = partial(dial, connect) if isinstance(connect, int) else connect
        self._said = said

    def wait_for_more(self, count: int) -> None:
        """Wait until `count` more clients have been served."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted)

    def _come(self) -> None:
        try:
            self.answers.append(self._talk())
        except OSError as error:
            self.answers.append(str(error).encode())

    def _talk(self) -> bytes:
        with self._connect() as peer:
            peer.sendall(self._said)
            return read_all(peer)
