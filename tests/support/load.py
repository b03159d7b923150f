"""Clients that come again and again, each as soon as the one before has its answer."""

import socket
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Protocol, Self

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


class Load:
    """So many clients at a time, until it is stopped or the context is left.

    answers: what each client got, from its greeting to the end; one that was refused got what the error says
    """

    def __init__(self, connect: int | Connect, said: bytes, *, clients: int) -> None:
        """connect: a port, or what connects; said: what each of them says, all at once."""
        self.answers: list[bytes] = []
        self._connect: Connect = partial(dial, connect) if isinstance(connect, int) else connect
        self._said = said
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._come, name="client") for _ in range(clients)]

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more clients were served."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted)

    def stop(self) -> None:
        """Let no more clients come, and wait for those that are there."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _come(self) -> None:
        while not self._over.is_set():
            try:
                self.answers.append(self._talk())
            except OSError as error:
                self.answers.append(str(error).encode())

    def _talk(self) -> bytes:
        with self._connect() as peer:
            peer.sendall(self._said)
            return read_all(peer)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()
