"""Clients that do not read what their subprogram has left, in a worker's loop without the worker."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qmail_popup.listener.process.loop import IN, Deadlines, Loop
from qmail_popup.listener.tls.engine import Secure, Server
from qmail_popup.listener.worker.buffer import Buffer
from qmail_popup.listener.worker.lingering import LingeringCloses
from qmail_popup.listener.worker.relays import Relays
from qmail_popup.settings import Settings
from tests.qmail_popup.listener.conftest import Certified
from tests.support.memory_tls import MemoryClient
from tests.support.resident import read_all
from tests.support.unserved import give_up_in_time, unserved
from tests.support.waiting import TIMEOUT

_MAX = 2
_LEFT = bytes(30_000)


class Place:
    """A worker's relays, of which two may be stuck."""

    def __init__(self, server: Server, certified: Certified) -> None:
        self._server, self._certified = server, certified
        self._loop, self._buffer = Loop(), Buffer()
        self.relays = Relays(self._loop, self._buffer, LingeringCloses(self._loop, self._buffer), _MAX)
        self._timers = [*self._loop.timers]
        give_up_in_time(self._loop)

    @contextmanager
    def stuck(self, timeout: bytes = b"") -> Iterator[socket.socket]:
        """Log a client in that reads nothing, and whose subprogram has exited; the client's socket."""
        near, far = socket.socketpair()
        with near, far:
            near.settimeout(TIMEOUT)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            secure, connection = self._server.open(), unserved(far)
            MemoryClient(self._certified.issuer.trusted()).greet(secure, self._buffer.view)
            connection.settings = Settings(
                [b"pop.example.org", b"/bin/true"], {b"QMAIL_POPUP_TIMEOUT": timeout}
            )
            with self.relays.begin(connection, secure) as program:
                program.sendall(_LEFT)
            self.turn()
            yield near

    def turn(self) -> None:
        """Turn the loop once."""
        self._loop.turn()

    def is_idle(self) -> bool:
        """Whether the loop waits for its next deadline, because nothing is ready."""
        expired: list[bool] = []
        soon: Deadlines[bool] = Deadlines(0.01, expired.append)
        soon.set(True)
        self._loop.timers.append(soon)
        self.turn()
        return bool(expired)

    def expire(self, seconds: float) -> None:
        """Have the loop's timers see a later time."""
        for timer in self._timers:
            timer.expire(time.monotonic() + seconds)


class _Updating(Secure):
    """TLS of a client that asks for new keys with all it sends, which Python's cannot do; it gets 16 KiB."""

    def __init__(self) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        super().__init__(context.wrap_bio(incoming, outgoing, server_side=True), incoming, outgoing)

    def receive(self, data: bytes | memoryview, plain: memoryview) -> int:
        del data, plain
        return 0

    def pending(self) -> bytes:
        return bytes(16384)


@pytest.fixture
def place(tls_server: Server, certified: Certified) -> Iterator[Place]:
    """Return relays without a client."""
    place = Place(tls_server, certified)
    yield place
    for relay in [*place.relays.open]:
        relay.cut()


def test_too_many(place: Place) -> None:
    """Nothing else limits them, so the one that has been stuck longest is disconnected."""
    with place.stuck() as first, place.stuck(), place.stuck():
        assert 2 == len(place.relays)
        assert len(read_all(first)) < len(_LEFT)


def test_who_reads_again(place: Place) -> None:
    """A client that has read something is not the one that has been stuck longest."""
    with place.stuck() as first, place.stuck() as second:
        first.recv(65536)
        place.turn()
        with place.stuck():
            assert 2 == len(place.relays)
            assert len(read_all(second)) < len(_LEFT)


def test_the_time_to_read(place: Place) -> None:
    """It is the idle timeout of the session, which a rule may have set."""
    with place.stuck(b"5") as first, place.stuck():
        place.expire(4)
        assert 2 == len(place.relays)
        place.expire(6)
        assert 1 == len(place.relays)
        assert len(read_all(first)) < len(_LEFT)
        place.expire(1201)
        assert 0 == len(place.relays)


def test_what_a_stuck_client_costs(place: Place, tls_server: Server, certified: Certified) -> None:
    """Nothing: its subprogram has more to say, which is not looked at again and again."""
    near, far = socket.socketpair()
    with near, far:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        secure = tls_server.open()
        MemoryClient(certified.issuer.trusted()).greet(secure, Buffer().view)
        with place.relays.begin(unserved(far), secure) as program:
            program.sendall(_LEFT)
            place.turn()
            program.sendall(_LEFT)
            assert place.is_idle()


def test_new_keys_without_end(place: Place) -> None:
    """A client that reads nothing is not read either once 128 KiB wait for it."""
    near, far = socket.socketpair()
    with near, far:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        with place.relays.begin(unserved(far), _Updating()):
            (relay,) = place.relays.open
            for _ in range(50):
                near.send(b"x")
                relay.ready(IN)
            unread = far.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            assert 50 - 9 <= len(unread) <= 50 - 8
