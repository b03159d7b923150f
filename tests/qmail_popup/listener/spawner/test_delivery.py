"""Events on their way to a sidecar, as the spawner's loop sees them."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmail_popup.listener.process.loop import Deadlines, Loop
from qmail_popup.listener.spawner.delivery import Deliveries
from qmail_popup.listener.spawner.spooler import Spooler

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
        deliveries = Deliveries(loop, path, Spooler(loop, lambda: spooler), max_link=spooler.fileno())
        assert deliveries.hello(b"hello") is None
        deliveries.event(b"event", None)
        assert b"event" == other.recv(9)


def _acknowledge(sidecar: socket.socket) -> None:
    peer, _ = sidecar.accept()
    with peer:
        peer.sendall(b"\n")
