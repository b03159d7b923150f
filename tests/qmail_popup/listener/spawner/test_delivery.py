"""Events on their way to a sidecar, as the spawner's loop sees them."""

import itertools
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qmail_popup.listener import options
from qmail_popup.listener.process.loop import Deadlines, Loop
from qmail_popup.listener.spawner import spooler
from qmail_popup.listener.spawner.delivery import Deliveries, max_link
from qmail_popup.listener.spawner.spooler import Spooler
from tests.support.waiting import TIMEOUT

_SOON = 0.05
_ANY = 1 << 20


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[socket.socket]:
    """Return a socket at `tmp_path`/socket that somebody listens to."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        yield listener


def test_a_copy_of_its_connection_keeps_the_loop_quiet(sidecar: socket.socket) -> None:
    """A subprogram has copies of all descriptors until its exec: none of them may wake the spawner."""
    loop, (spooler, other) = Loop(), socket.socketpair()
    with spooler, other:
        path = os.fsencode(sidecar.getsockname())
        deliveries = Deliveries(loop, path, Spooler(loop, lambda: spooler), max_link=_ANY)
        link = deliveries.hello(b"hello")
    assert link is not None
    with socket.socket(fileno=os.dup(link.fileno())):
        deliveries.event(b"event", link)
        _acknowledge(sidecar)
        loop.turn()
        assert not deliveries
        expired: list[str] = []
        timer = Deadlines(_SOON, expired.append)
        timer.set("quiet")
        loop.timers.append(timer)
        loop.turn()  # which would come back before its time if a descriptor were ready
    assert ["quiet"] == expired


def test_few_descriptors(sidecar: socket.socket) -> None:
    """Where they run short nobody connects to the sidecar, and the event is the spool's."""
    loop, (spooler, other) = Loop(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with spooler, other:
        path = os.fsencode(sidecar.getsockname())
        deliveries = Deliveries(loop, path, Spooler(loop, lambda: spooler), max_link=2)  # which is taken
        assert deliveries.hello(b"hello") is None
        deliveries.event(b"event", None)
        assert b"event" == other.recv(9)


def test_a_connection_that_takes_no_more(sidecar: socket.socket) -> None:
    """The event goes over another one, at once."""
    loop, (spooler, other) = Loop(), socket.socketpair()
    sidecar.settimeout(TIMEOUT)
    with spooler, other:
        path = os.fsencode(sidecar.getsockname())
        deliveries = Deliveries(loop, path, Spooler(loop, lambda: spooler), max_link=_ANY)
        link = deliveries.hello(b"hello")
        assert link is not None
        unread, _ = sidecar.accept()
        with suppress(BlockingIOError):
            while link.send(bytes(4096)):
                pass
        deliveries.event(b"event", link)
        with unread, sidecar.accept()[0] as peer:
            assert b"event" == peer.recv(9)
            peer.sendall(b"\n")
            loop.turn()
    assert not deliveries


def test_a_spooler_that_ends_while_many_wait() -> None:
    """All that wait go to the next one, as it has room for them."""
    loop, expired = Loop(), list[str]()
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    spooler = Spooler(loop, iter([near for near, _ in pairs]).__next__)
    first = 0
    while not spooler:
        spooler.put(b"%d" % first)
        first += 1
    for number in range(first, 3 * first):
        spooler.put(b"%d" % number)
    pairs[0][1].close()
    timer = Deadlines(TIMEOUT, expired.append)
    timer.set("stuck")
    loop.timers.append(timer)
    found: list[int] = []
    while spooler and not expired:
        loop.turn()
        found += _received(pairs[1][1])
    assert [*range(first - 1, 3 * first)] == found
    for end in itertools.chain(*pairs):
        end.close()


def test_a_spooler_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events wait, in order, for the next attempt: a later event's, or after a while."""
    monkeypatch.setattr(spooler, "_RETRY_SECONDS", _SOON)
    loop = Loop()
    ended, second, third = (socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3))
    waiting = Spooler(loop, _starting(ended[0], None, second[0], None, None, third[0]))
    ended[1].close()
    waiting.put(b"1")
    assert 1 == len(waiting)
    waiting.put(b"2")
    assert [1, 2] == [*_received(second[1])]
    second[1].close()
    waiting.put(b"3")
    for _ in range(2):
        assert 1 == len(waiting)
        loop.turn()
    assert ([3], 0) == ([*_received(third[1])], len(waiting))
    for end in (*ended, *second, *third):
        end.close()


def _starting(*starts: socket.socket | None) -> Callable[[], socket.socket]:
    """Return a start of spoolers; one that fails does so like fork(2) where there are too many processes."""
    following = iter(starts)

    def start() -> socket.socket:
        started = next(following)
        if started is None:
            raise BlockingIOError
        return started

    return start


def _received(peer: socket.socket) -> Iterator[int]:
    with suppress(BlockingIOError):
        while True:
            yield int(peer.recv(9, socket.MSG_DONTWAIT))


@pytest.mark.parametrize(("connections", "highest"), [(100, 770), (250, 620), (10_000, 620)])
def test_what_is_left_for_logins(connections: int, highest: int) -> None:
    """Of 1,000 descriptors one for each connection, but no more than 250; three for each session; and 100."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
    try:
        asked = ["--connections", str(connections), "--sessions", "10", "pop.example.org", "/bin/true"]
        assert highest == max_link(options.parse(asked))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _acknowledge(sidecar: socket.socket) -> None:
    peer, _ = sidecar.accept()
    with peer:
        peer.sendall(b"\n")
