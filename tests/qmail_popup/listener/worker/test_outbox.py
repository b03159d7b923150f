"""A worker's frames on their way: none is lost with a spawner that ends, and none comes twice."""

import socket
import time
from collections.abc import Iterator

import pytest

from qmail_popup.listener.ipc.frames import BEGIN, END, MAX_FRAME, Frame, parse
from qmail_popup.listener.process.loop import Deadlines, Loop
from qmail_popup.listener.worker.outbox import Outbox
from tests.support.stand_in import FIRST, SLOT, login
from tests.support.waiting import TIMEOUT

_SOON = 0.05

Channel = tuple[socket.socket, socket.socket]


@pytest.fixture
def channel() -> Iterator[Channel]:
    """Return a worker's end of a channel, and the spawner's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(0)
    yield ours, theirs
    ours.close()
    theirs.close()


def frame(kind: int, number: int = 0) -> Frame:
    """Return a frame without a login."""
    return login(FIRST + SLOT + 256 * number, kind=kind, name=b"", secret=bytearray())


def received(peer: socket.socket) -> list[tuple[int, int]]:
    """Return kind and number of all frames that have come."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            data = peer.recv(MAX_FRAME)
        except BlockingIOError:
            return found
        read = parse(memoryview(data), SLOT, time.monotonic_ns())
        found.append((read.kind, read.number))


def test_who_has_begun_is_told_once(channel: Channel) -> None:
    """Without a spawner nothing of it waits: the worker tells a new one of all that are open."""
    outbox = Outbox(Loop())
    begun, ended = frame(BEGIN), frame(END, 1)
    outbox.put(begun)
    outbox.put(ended)
    outbox.connect(channel[0])
    outbox.put(begun)
    while outbox:
        outbox.ready(4)
    assert [(END, ended.number), (BEGIN, begun.number)] == received(channel[1])


def test_what_waits_goes_to_the_next_spawner(channel: Channel) -> None:
    """What a full channel did not take, and a spawner that ended, the next one gets."""
    outbox = Outbox(Loop())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    outbox.connect(ours)
    count = 0
    while not outbox:
        outbox.put(frame(END, count))
        count += 1
    outbox.put(frame(BEGIN, count))
    theirs.close()
    outbox.ready(16)
    assert not outbox.is_connected
    outbox.connect(channel[0])
    outbox.ready(4)
    assert [(END, frame(END, count - 1).number)] == received(channel[1])


def test_a_full_channel(channel: Channel) -> None:
    """What it does not take goes as soon as there is room, and the loop is quiet once nothing is left."""
    loop = Loop()
    outbox = Outbox(loop)
    outbox.connect(channel[0])
    count = 0
    while not outbox:
        outbox.put(frame(END, count))
        count += 1
    found = received(channel[1])
    assert [] == _expired(loop, TIMEOUT)
    found += received(channel[1])
    assert [(END, frame(END, number).number) for number in range(count)] == found
    assert ["expired"] == _expired(loop, _SOON)


def _expired(loop: Loop, seconds: float) -> list[str]:
    """Turn a loop once; return what expires if nothing was ready for as long."""
    expired: list[str] = []
    timer = Deadlines(seconds, expired.append)
    timer.set("expired")
    loop.timers.append(timer)
    loop.turn()
    loop.timers.remove(timer)
    return expired


def test_a_client_is_let_go_once_it_is_handed_over(channel: Channel) -> None:
    """Its descriptor is closed here, and its secret wiped, and not before."""
    outbox = Outbox(Loop())
    near, far = socket.socketpair()
    wanted = login()
    outbox.put(wanted, far)
    assert (True, bytearray(b"x")) == (far.fileno() >= 0, wanted.secret)
    outbox.connect(channel[0])
    outbox.ready(4)
    assert (-1, bytearray(1)) == (far.fileno(), wanted.secret)
    near.close()


def test_what_no_spawner_will_take_is_let_go() -> None:
    """Where nobody is there to start one, clients and secrets do not wait."""
    outbox = Outbox(Loop())
    near, far = socket.socketpair()
    wanted = login()
    outbox.put(wanted, far)
    outbox.clear()
    assert (-1, bytearray(1), 0) == (far.fileno(), wanted.secret, len(outbox))
    near.close()
