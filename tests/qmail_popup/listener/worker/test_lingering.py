"""Closing connections after the last reply, in a worker's loop without the worker."""

import socket
import time
from collections.abc import Iterator

import pytest

from qmail_popup.listener.process.loop import Loop
from qmail_popup.listener.worker.buffer import Buffer
from qmail_popup.listener.worker.lingering import LingeringCloses
from tests.support.unserved import give_up_in_time

_MAX = 2


class Place:
    """A worker's connections being closed, of which there may be two."""

    def __init__(self) -> None:
        self._loop = Loop()
        self.lingering = LingeringCloses(self._loop, Buffer(), _MAX)
        (self._timer,) = self._loop.timers
        give_up_in_time(self._loop)
        self._clients: list[socket.socket] = []

    def close(self) -> socket.socket:
        """Close a connection; the client's socket."""
        near, far = socket.socketpair()
        self._clients.append(near)
        self.lingering.linger(far)
        return near

    def turn(self) -> None:
        """Turn the loop once."""
        self._loop.turn()

    def expire(self, now: float) -> None:
        """Have it see this time."""
        self._timer.expire(now)

    def end(self) -> None:
        """Disconnect everybody."""
        self.expire(time.monotonic() + 3600)
        for client in self._clients:
            client.close()


@pytest.fixture
def place() -> Iterator[Place]:
    """Return a place without connections."""
    place = Place()
    yield place
    place.end()


def _is_closed(client: socket.socket) -> bool:
    """Return whether nobody has the other end open any more."""
    try:
        client.send(b"x")
    except BrokenPipeError:
        return True
    return False


def test_what_a_client_still_sends_is_discarded(place: Place) -> None:
    """It has the end of our output, and may send until it closes."""
    client = place.close()
    assert b"" == client.recv(1)
    client.send(bytes(1000))
    place.turn()
    assert not _is_closed(client)
    assert 1 == len(place.lingering)


def test_a_client_that_closes(place: Place) -> None:
    """Nothing is kept of it."""
    place.close().close()
    place.turn()
    assert 0 == len(place.lingering)


def test_a_client_that_does_not_close(place: Place) -> None:
    """It is disconnected after two seconds, and not before."""
    began = time.monotonic()
    client = place.close()
    place.expire(began + 1.9)
    assert not _is_closed(client)
    place.expire(time.monotonic() + 2)
    assert _is_closed(client)
    assert 0 == len(place.lingering)


def test_too_many_clients(place: Place) -> None:
    """The oldest is disconnected for a new one."""
    clients = [place.close() for _ in range(_MAX + 1)]
    assert [True, False, False] == [_is_closed(client) for client in clients]
    assert _MAX == len(place.lingering)
