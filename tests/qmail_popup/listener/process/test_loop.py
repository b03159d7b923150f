"""The event loop: who is called, and which of many times is over first."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from qmail_popup.listener.process.loop import NOTHING, Deadlines, Loop, Timeouts
from tests.support import processes
from tests.support.child import Child
from tests.support.waiting import until

_SECONDS = 2.0


class Empty:
    """A handler with a length, which is nothing."""

    def __init__(self, fd: int) -> None:
        self.fd, self.read = fd, b""

    def __len__(self) -> int:
        return 0

    def ready(self, _events: int) -> None:
        """Read what there is."""
        self.read += os.read(self.fd, 10)


def test_a_handler_that_holds_nothing() -> None:
    """It is called anyway: what is not read makes a loop turn without end."""
    loop = Loop()
    reader, writer = os.pipe()
    handler = Empty(reader)
    loop.watch(reader, handler)
    os.write(writer, b"x")
    loop.turn()
    assert b"x" == handler.read
    os.close(reader)
    os.close(writer)


def test_a_handler_that_holds_nothing_is_forgotten() -> None:
    """The kernel reports its descriptor no more, which can be watched again."""
    loop = Loop()
    reader, writer = os.pipe()
    handler = Empty(reader)
    for _ in range(2):
        loop.watch(reader, handler)
        loop.forget(reader)
    os.write(writer, b"x")
    expired: list[str] = []
    timer = Deadlines(0.05, expired.append)
    timer.set("quiet")
    loop.timers.append(timer)
    loop.turn()  # which would come back before its time if the pipe were watched
    assert (["quiet"], b"") == (expired, handler.read)
    os.close(reader)
    os.close(writer)


def _turn() -> tuple[list[str], bytes]:
    """Turn a loop that waits for descriptor 3 once; say on 4 that it begins, and return what was done."""
    loop, handler, expired = Loop(), Empty(3), list[str]()
    timer = Deadlines(_SECONDS, expired.append)
    timer.set("expired")
    loop.timers.append(timer)
    loop.watch(3, handler)
    os.write(4, b"x")
    loop.turn()
    return expired, handler.read


def test_what_came_while_it_was_stopped() -> None:
    """It is in time: nothing expires before it was looked for once more."""
    (reader, writer), (begun, begin) = os.pipe(), os.pipe()
    with Child(_turn, {3: reader, 4: begin}) as child:
        os.read(begun, 1)
        until(lambda: ") S " in Path(f"/proc/{child.pid}/stat").read_text())
        os.kill(child.pid, signal.SIGSTOP)
        until(lambda: processes.is_stopped(child.pid))
        os.write(writer, b"x")
        time.sleep(_SECONDS)
        os.kill(child.pid, signal.SIGCONT)
        assert ([], b"x") == child.result()
    for fd in (reader, writer, begun, begin):
        os.close(fd)


class Newcomer:
    """A handler that notes what it is called with."""

    def __init__(self) -> None:
        self.events: list[int] = []

    def ready(self, events: int) -> None:
        """Note it."""
        self.events.append(events)


class Replacer:
    """The handler of two sockets: the first call closes both, and has two others watched."""

    def __init__(self, loop: Loop, mine: list[socket.socket], newcomer: Newcomer) -> None:
        self.loop, self.mine, self.newcomer = loop, mine, newcomer

    def ready(self, _events: int) -> None:
        """Leave, so that the descriptors are given to others at once."""
        numbers = {sock.fileno() for sock in self.mine}
        for sock in self.mine:
            self.loop.closing(sock.fileno())
            sock.close()
        self.mine[:] = socket.socketpair()
        assert numbers == {sock.fileno() for sock in self.mine}
        for sock in self.mine:
            self.loop.watch(sock.fileno(), self.newcomer, NOTHING)


def test_a_descriptor_that_is_given_to_another() -> None:
    """What the kernel told of the one before, in the same turn, is not told to the next: he would end."""
    loop, newcomer = Loop(), Newcomer()
    pairs = [socket.socketpair() for _ in range(2)]
    replaced = [near for near, _ in pairs]
    replacer = Replacer(loop, replaced, newcomer)
    for near, far in pairs:
        loop.watch(near.fileno(), replacer)
        far.send(b"x")
    loop.turn()
    assert [] == newcomer.events
    for sock in (*replaced, *(far for _, far in pairs)):
        sock.close()


def test_each_has_its_time() -> None:
    """Items end in the order of their times, however they were set."""
    ended: list[str] = []
    timeouts: Timeouts[str] = Timeouts(ended.append)
    now = time.monotonic()
    for item, seconds in (("slow", 300.0), ("quick", 10.0), ("slower", 300.0), ("quicker", 10.0)):
        timeouts.set(item, seconds)
    assert 4 == len(timeouts)
    due = timeouts.due()
    assert due
    assert 10 <= due - now < 100
    timeouts.expire(now + 200)
    assert ["quick", "quicker"] == ended
    assert ["slow", "slower"] == [*timeouts]
    timeouts.expire(now + 1000)
    assert (["quick", "quicker", "slow", "slower"], None) == (ended, timeouts.due())


def test_a_time_that_changes() -> None:
    """The last one counts, from when it is said to have begun."""
    ended: list[str] = []
    timeouts: Timeouts[str] = Timeouts(ended.append)
    now = time.monotonic()
    timeouts.set("item", 1.0)
    timeouts.set("item", 300.0, now - 200)
    timeouts.expire(now + 90)
    assert [] == ended
    timeouts.expire(now + 101)
    assert ["item"] == ended
    timeouts.drop("item")
    assert 0 == len(timeouts)


def test_who_was_set_longest_ago() -> None:
    """However long the times are: it is when they began that counts."""
    timeouts: Timeouts[str] = Timeouts(lambda _: None)
    assert timeouts.longest() is None
    timeouts.set("first", 1000.0)
    timeouts.set("second", 1.0)
    longest = timeouts.longest()
    assert longest
    assert "first" == longest[0]
    assert longest[1] == pytest.approx(time.monotonic(), abs=100)
    timeouts.set("first", 1000.0)
    longest = timeouts.longest()
    assert longest
    assert "second" == longest[0]
    timeouts.drop("second")
    timeouts.drop("first")
    assert timeouts.longest() is None


def test_many_times() -> None:
    """However many different times there are in turn, only those that are waited for are kept."""
    ended: list[int] = []
    timeouts: Timeouts[int] = Timeouts(ended.append)
    now = time.monotonic()
    timeouts.set(-1, 5.0)
    for seconds in range(1000, 2000):
        timeouts.set(seconds, seconds)
        if seconds % 100:
            timeouts.drop(seconds)
    assert 11 == len(timeouts)
    timeouts.expire(now + 5000)
    assert [-1, *range(1000, 2000, 100)] == ended


def test_one_time_for_all() -> None:
    """Who is set again has its time again, and who began first is first, though set last."""
    ended: list[str] = []
    deadlines: Deadlines[str] = Deadlines(10, ended.append)
    now = time.monotonic()
    deadlines.set("first")
    for name, ago in (("second", 9), ("third", 5), ("first", 11)):
        deadlines.set(name, now - ago)
    for later, expected in ((0, ["first"]), (2, ["first", "second"]), (6, ["first", "second", "third"])):
        deadlines.expire(now + later)
        assert expected == ended
