"""Events on their way to a sidecar, as the spawner's loop sees them."""

import os
import resource
import socket
from collections.abc import Iterator
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


@pytest.fixture
def pair() -> Iterator[spooler.Pair]:
    """Return the spawner's end of its connection to the spooler, and the other."""
    ours, theirs = spooler.connect()
    with ours, theirs:
        yield ours, theirs


def test_a_copy_of_its_connection_keeps_the_loop_quiet(pair: spooler.Pair, sidecar: socket.socket) -> None:
    """A subprogram has copies of all descriptors until its exec: none of them may wake the spawner."""
    loop = Loop()
    path = os.fsencode(sidecar.getsockname())
    deliveries = Deliveries(loop, path, Spooler(loop, pair, _Starts()), max_link=_ANY)
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


def test_few_descriptors(pair: spooler.Pair, sidecar: socket.socket) -> None:
    """Where they run short nobody connects to the sidecar, and the event is the spool's."""
    loop, starts = Loop(), _Starts()
    path = os.fsencode(sidecar.getsockname())
    deliveries = Deliveries(loop, path, Spooler(loop, pair, starts), max_link=2)  # which is taken
    assert deliveries.hello(b"hello") is None
    deliveries.event(b"event", None)
    assert b"event" == starts.peer.recv(9)


def test_a_connection_that_takes_no_more(pair: spooler.Pair, sidecar: socket.socket) -> None:
    """The event goes over another one, at once."""
    loop = Loop()
    sidecar.settimeout(TIMEOUT)
    path = os.fsencode(sidecar.getsockname())
    deliveries = Deliveries(loop, path, Spooler(loop, pair, _Starts()), max_link=_ANY)
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


def test_a_spooler_that_ends_while_many_wait(pair: spooler.Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it has not read go to the next one, as it has room for them, without another event."""
    monkeypatch.setattr(spooler, "_RETRY_SECONDS", _SOON)
    loop, starts = Loop(), _Starts(None)
    waiting = Spooler(loop, pair, starts)
    count = 0
    while not waiting:
        waiting.put(b"%d" % count)
        count += 1
    starts.end()
    found: list[int] = []
    while waiting or starts.is_ended:
        loop.turn()
        found += [] if starts.is_ended else _received(starts.peer)
    assert [*range(count)] == [*found, *_received(starts.peer)]
    starts.end()


def test_a_spooler_that_cannot_be_started(pair: spooler.Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events wait, in order, and the start is tried again after a while, however often it fails."""
    monkeypatch.setattr(spooler, "_RETRY_SECONDS", _SOON)
    loop, starts = Loop(), _Starts(None, BlockingIOError, BlockingIOError, None, BlockingIOError)
    waiting = Spooler(loop, pair, starts)
    for event in (b"1", b"2"):
        starts.end()
        waiting.put(event)
        loop.turn()
        while waiting:
            loop.turn()
        assert [int(event)] == [*_received(starts.peer)]
    starts.end()


class _Starts:
    """Starts of spoolers: a pipe stands for each process, with its end; then any number that succeed."""

    def __init__(self, *errors: type[OSError] | None) -> None:
        self._errors = iter(errors)
        self.is_ended = True

    def __call__(self, peer: socket.socket) -> int:
        if error := next(self._errors, None):
            raise error
        self.peer, self.is_ended = peer, False
        process, self._life = os.pipe()
        return process

    def end(self) -> None:
        """End the one that runs."""
        os.close(self._life)
        self.is_ended = True


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
