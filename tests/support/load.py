"""Clients that come again and again, each as soon as the one before has its answer."""

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
        """Say something."""

    def recv(self, size: int, /) -> bytes:
        """Return what has come, nothing at the end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


Connect = Callable[[], Client]


def dial(port: int) -> socket.socket:
    """Connect to a port of this host."""
    return socket.create_connection((HOST, port), TIMEOUT)


class Load(Repeated):
    """So many clients at a time, until it is stopped or the context is left.

    answers: what each client got, from its greeting to the end; one that was refused got what the error says
    """

    def __init__(self, connect: int | Connect, said: bytes, *, clients: int) -> None:
        """connect: a port, or what connects; said: what each of them says, all at once."""
        super().__init__(self._come, threads=clients)
        self.answers: list[bytes] = []
        self._connect: Connect = partial(dial, connect) if isinstance(connect, int) else connect
        self._said = said

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more clients were served."""
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
