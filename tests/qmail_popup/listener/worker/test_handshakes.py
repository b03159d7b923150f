"""TLS handshakes in a worker's loop: how they end, and what is left behind them."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from qmail_popup.listener.ipc.frames import DISCONNECTED, TIMEOUT, TLS_FAILED
from qmail_popup.listener.process.loop import IN, OUT, Loop
from qmail_popup.listener.tls.engine import Server
from qmail_popup.listener.tls.suites import SUITES, UNKNOWN, VERSIONS
from qmail_popup.listener.worker.buffer import Buffer
from qmail_popup.listener.worker.connection import Connection
from qmail_popup.listener.worker.handshakes import Handshakes
from tests.qmail_popup.listener.conftest import Certified
from tests.support import waiting
from tests.support.leaving import reset_at_close
from tests.support.memory_tls import MemoryClient
from tests.support.resident import LOGIN
from tests.support.stand_in import client
from tests.support.unserved import give_up_in_time, unserved


class _Loop(Loop):
    """A loop that knows what it has been asked to wait for instead."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[int] = []

    def change(self, fd: int, events: int) -> None:
        self.changes.append(events)
        super().change(fd, events)


class Place:
    """One client's handshake, in a loop of its own.

    near: the client's socket; done, ended: what the worker was told of the connection
    """

    def __init__(self, server: Server, near: socket.socket, far: socket.socket) -> None:
        self.loop, self.buffer = _Loop(), Buffer()
        self.done: list[Connection] = []
        self.ended: list[str] = []
        self.handshakes = Handshakes(
            self.loop,
            server,
            self.buffer,
            done=self.done.append,
            ended=lambda _, word: self.ended.append(word),
        )
        self._timers = [*self.loop.timers]
        give_up_in_time(self.loop)
        self.near, self.connection = near, unserved(far)

    def expire(self, now: float) -> None:
        """Have the loop's timers see this time."""
        for timer in self._timers:
            timer.expire(now)

    def turn(self) -> None:
        """Turn the loop until the handshake is over, or until something has come for the client."""
        while not (self.done or self.ended or self._has_come()):
            self.loop.turn()

    def answer(self, memory: MemoryClient) -> bytes:
        """Receive the server's flight, however many pieces it comes in; return the client's next one."""
        answer = b""
        while not answer:
            if self.connection.unsent:
                self.loop.turn()
            memory.take(self.near.recv(65536))
            answer = memory.hello()
        return answer

    def _has_come(self) -> bool:
        return bool(select.select([self.near], [], [], 0)[0])


@pytest.fixture
def place(tls_server: Server) -> Iterator[Place]:
    """Return a client that is connected, and has said nothing."""
    with _place(tls_server) as made:
        yield made


@contextmanager
def _place(server: Server) -> Iterator[Place]:
    near, far = client()
    with near, far:
        near.settimeout(waiting.TIMEOUT)
        yield Place(server, near, far)


def test_a_handshake(place: Place, certified: Certified) -> None:
    """What it has agreed on is known, what came with its end is kept, and the loop has let go of it."""
    memory, connection = MemoryClient(certified.issuer.trusted()), place.connection
    place.handshakes.begin(connection)
    assert (UNKNOWN, 1) == (
        connection.tls,
        connection.peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
    )
    place.near.sendall(memory.hello())
    place.turn()
    answer = place.answer(memory)
    assert UNKNOWN == connection.tls
    place.near.sendall(answer + memory.farewell(b"QUIT\r\n"))
    place.turn()
    assert ([connection], [], b"QUIT\r\n") == (place.done, place.ended, bytes(connection.left or b""))
    agreed = VERSIONS[connection.tls], SUITES[connection.suite].name
    assert (b"TLSv1.3", b"TLS_AES_256_GCM_SHA384") == agreed
    assert not any(place.buffer.bytes)
    assert [] == place.loop.changes
    place.loop.watch(connection.peer.fileno(), _Unasked())
    place.expire(time.monotonic() + 3600)
    assert [] == place.ended


class _Unasked:
    """Handles a descriptor that is free."""

    def ready(self, _events: int) -> None:
        raise AssertionError


@pytest.mark.parametrize("greeted", [0, 1])
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"])
def test_a_client_that_leaves(place: Place, greeted: int, said: bytes, *, resets: bool) -> None:
    """It has failed if the client asked for TLS or began with it; one that only looks has disconnected."""
    place.connection.greeted = greeted
    place.handshakes.begin(place.connection)
    if said:
        place.near.sendall(said)
        place.loop.turn()
    if resets:
        reset_at_close(place.near)
    place.near.close()
    place.loop.turn()
    assert ([], [TLS_FAILED if said or greeted else DISCONNECTED]) == (place.done, place.ended)


def test_what_is_no_handshake(place: Place) -> None:
    """It fails at once, and the client is told by an alert."""
    place.handshakes.begin(place.connection)
    place.near.sendall(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01x" * 2)
    place.loop.turn()
    assert ([], [TLS_FAILED]) == (place.done, place.ended)
    assert b"\x15\x03" == place.near.recv(2)


def test_what_is_no_tls(place: Place) -> None:
    """It fails at once, and is wiped: a password may be in it."""
    place.handshakes.begin(place.connection)
    place.near.sendall(LOGIN)
    place.loop.turn()
    assert ([], [TLS_FAILED]) == (place.done, place.ended)
    assert not any(place.buffer.bytes)


def test_nothing_to_read(place: Place) -> None:
    """A loop may call without a reason: the handshake is waited for as before."""
    place.handshakes.begin(place.connection)
    place.handshakes.turn(place.connection)
    assert ([], []) == (place.done, place.ended)


def test_the_time_for_a_handshake(place: Place) -> None:
    """It has 30 s from its beginning."""
    before = time.monotonic()
    place.handshakes.begin(place.connection)
    place.expire(before + 30)
    assert [] == place.ended
    place.expire(time.monotonic() + 30)
    assert [TIMEOUT] == place.ended


def test_a_handshake_that_is_forgotten(place: Place) -> None:
    """Nobody is told that its time is over."""
    place.handshakes.begin(place.connection)
    place.handshakes.forget(place.connection)
    place.expire(time.monotonic() + 3600)
    assert [] == place.ended


def test_a_client_that_reads_late(place: Place, certified: Certified) -> None:
    """Our half of the handshake waits for room, and then it goes on."""
    memory, filled = MemoryClient(certified.issuer.trusted()), _fill(place.connection.peer, place.near)
    place.handshakes.begin(place.connection)
    place.near.sendall(memory.hello())
    place.loop.turn()
    assert place.connection.unsent
    while filled:
        filled -= len(place.near.recv(filled))
    answer = place.answer(memory)
    assert not place.connection.unsent
    place.near.sendall(answer)
    place.turn()
    assert [OUT, IN] == place.loop.changes
    assert ([place.connection], []) == (place.done, place.ended)


def test_a_client_that_resets_before_it_has_read(place: Place, certified: Certified) -> None:
    """It began with TLS and has not ended its handshake, so that has failed."""
    _fill(place.connection.peer, place.near)
    place.handshakes.begin(place.connection)
    place.near.sendall(MemoryClient(certified.issuer.trusted()).hello())
    place.loop.turn()
    assert place.connection.unsent
    reset_at_close(place.near)
    place.near.close()
    place.loop.turn()
    assert ([], [TLS_FAILED]) == (place.done, place.ended)


def _fill(peer: socket.SocketType, reader: socket.socket) -> int:
    """Send until there is no room; return the number of bytes."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # sizes that the kernel does not change
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sent = 0
    while select.select([], [peer], [], 0.1)[1]:
        sent += peer.send(bytes(1000), socket.MSG_DONTWAIT)
    with suppress(BlockingIOError):
        while True:
            sent += peer.send(b"\0", socket.MSG_DONTWAIT)
    return sent
