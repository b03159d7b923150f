"""What else may end a session while it waits for the network, and who else may use the network."""

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, repeat

import pytest

from qmail_popup.wire import DISCONNECTED, TIMEOUT, Wire
from tests.support import descriptors
from tests.support.child import run
from tests.support.descriptors import Line, pipe_line, socket_line
from tests.support.pipes import small_pipe

MOST = 64
IDLE = 30


@pytest.fixture(params=[socket_line, pipe_line], ids=["socket", "pipe"])
def network(request: pytest.FixtureRequest) -> Iterator[tuple[Line, dict[int, int]]]:
    """Return a client's line, and a child's descriptors 0 and 1 for it."""
    line, reader, writer = request.param()
    yield line, {0: reader, 1: writer}
    line.close()
    descriptors.close({reader, writer})


class Bell:
    """A watch: one end of a pipe, and what to say when it is ready."""

    def __init__(
        self, fd: int, words: Iterator[str | None], act: Callable[[], object] = lambda: None
    ) -> None:
        self.fd, self.words, self.act, self.seen = fd, words, act, list[list[int]]()
        self.over = False

    def descriptors(self) -> Sequence[int]:
        """Return the descriptor to watch, as long as there is something to come."""
        return [] if self.over else [self.fd]

    def ended(self, ready: Collection[int]) -> str | None:
        """Do something, and say the next word."""
        self.seen.append(sorted(ready))
        self.act()
        return next(self.words)

    def disconnected(self) -> None:
        """Take it that nothing more will come."""
        self.over = True


def watched(bell: Bell, *, idle: int = IDLE) -> Wire:
    """Return a wire with a watch."""
    wire = Wire(idle, MOST)
    wire.watch = bell
    return wire


@pytest.fixture
def bell_fd() -> Iterator[int]:
    """Return the read end of a pipe that has something to read."""
    reader, writer = os.pipe()
    os.write(writer, b"!")
    yield reader
    descriptors.close({reader, writer})


def test_a_watch_ends_the_session(network: tuple[Line, dict[int, int]], bell_fd: int) -> None:
    """Its word is how the session ended, be it read from or written to, and though the network is ready."""
    line, fds = network
    line.send(b"NOOP\n")

    def task() -> tuple[object, ...]:
        wire = watched(bell := Bell(3, repeat("rung")))
        return wire.line(lambda _line: 1), wire.reply(b"x"), bell.seen, os.read(0, 9)

    assert ("rung", "rung", [[0, 3], [1, 3]], b"NOOP\n") == run(task, fds | {3: bell_fd})


def test_a_watch_that_is_content_ends_nothing(network: tuple[Line, dict[int, int]], bell_fd: int) -> None:
    """As long as it has no word, the wait for the network goes on."""
    line, fds = network

    def task() -> list[object]:
        def feed() -> None:
            if len(bell.seen) == 3:
                os.write(4, b"NOOP\n")

        bell = Bell(3, repeat(None), feed)
        return [watched(bell).line(lambda _line: 9), bell.seen[:3], bell.seen[-1]]

    assert [b"NOOP", [[3]] * 3, [0, 3]] == run(task, fds | {3: bell_fd, 4: line.writer})


def test_a_watch_that_wakes_up_holds_up_no_timeout(network: tuple[Line, dict[int, int]]) -> None:
    """The idle timeout counts from the beginning of the wait, however often a watch interrupts it."""
    reader, writer = os.pipe()

    def task() -> tuple[object, float]:
        def rest() -> None:
            os.read(3, 1)
            signal.setitimer(signal.ITIMER_REAL, 0.4 if len(bell.seen) < 60 else 0)

        bell = Bell(3, repeat(None), rest)
        signal.signal(signal.SIGALRM, lambda *_: os.write(4, b"!"))
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        began = time.monotonic()
        return watched(bell, idle=1).line(lambda _line: 1), time.monotonic() - began

    ended, took = run(task, network[1] | {3: reader, 4: writer})
    assert TIMEOUT == ended
    assert took < 12  # sixty rests take twice as long
    descriptors.close({reader, writer})


def test_a_watch_that_takes_its_time(network: tuple[Line, dict[int, int]], bell_fd: int) -> None:
    """Where the time is up once it has looked, nothing is waited for any more."""

    def task() -> object:
        def dawdle() -> None:
            os.read(3, 1)
            time.sleep(1.1)

        return watched(Bell(3, repeat(None), dawdle), idle=1).line(lambda _line: 1)

    assert TIMEOUT == run(task, network[1] | {3: bell_fd})


def test_a_watch_that_is_quiet(network: tuple[Line, dict[int, int]]) -> None:
    """A watch whose descriptor has nothing to say is asked, and only the network is ready."""
    line, fds = network
    line.send(b"NOOP\n")
    quiet, writer = os.pipe()

    def task() -> tuple[object, object]:
        bell = Bell(3, repeat(None))
        return watched(bell).line(lambda _line: 9), bell.seen

    assert (b"NOOP", [[0]]) == run(task, fds | {3: quiet})
    descriptors.close({quiet, writer})


def test_what_somebody_else_took_is_waited_for(network: tuple[Line, dict[int, int]], bell_fd: int) -> None:
    """A read that finds nothing, though there was something, is no end."""
    line, fds = network
    os.set_blocking(fds[0], False)
    line.send(b"stolen")

    def task() -> list[object]:
        def steal() -> None:
            if len(bell.seen) == 1:
                os.read(0, 99)
            else:
                os.write(4, b"NOOP\n")

        bell = Bell(3, repeat(None), steal)
        return [watched(bell).line(lambda _line: 9)]

    assert [b"NOOP"] == run(task, fds | {3: bell_fd, 4: line.writer})


def test_room_that_somebody_else_took_is_waited_for(bell_fd: int) -> None:
    """A write that finds no room, though there was some, is tried again."""
    reader, writer = small_pipe()

    def task() -> tuple[object, bytes]:
        def take() -> None:
            if len(bell.seen) == 1:
                os.write(1, b"x" * 4096)
            elif len(bell.seen) == 2:
                taken.append(os.read(4, 4096))

        taken: list[bytes] = []
        bell = Bell(3, chain(repeat(None, 3), repeat("too often")), take)
        return watched(bell).reply(b"+OK\r\n"), b"".join(taken)

    assert (None, b"x" * 4096) == run(task, {1: writer, 3: bell_fd, 4: reader})
    assert b"+OK\r\n" == os.read(reader, 99)
    descriptors.close({reader, writer})


def test_a_signal_that_is_handled_interrupts_nothing(network: tuple[Line, dict[int, int]]) -> None:
    """A wait goes on behind a signal handler."""
    line, fds = network

    def task() -> list[bytes | str]:
        signal.signal(signal.SIGALRM, lambda *_: os.write(4, b"NOOP\n"))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return [bytes(got) for got in [Wire(IDLE, MOST).line(lambda _line: 9)] if isinstance(got, bytearray)]

    assert [b"NOOP"] == run(task, fds | {4: line.writer})


# A watch may know that nothing more will come.


def test_what_is_there_is_served_and_nothing_is_waited_for(network: tuple[Line, dict[int, int]]) -> None:
    """A line is read as far as it is there; behind that the client has gone, and no timeout is needed."""
    line, fds = network
    line.send(b"NOOP\nUSER")

    def task() -> list[object]:
        wire = watched(bell := Bell(3, repeat(None)))
        bell.over = True
        return [wire.line(lambda _line: 9), wire.line(lambda _line: 9), bell.seen]

    quiet, writer = os.pipe()
    assert [b"NOOP", DISCONNECTED, [[0]]] == run(task, fds | {3: quiet})
    descriptors.close({quiet, writer})


def test_a_wait_ends_when_nothing_more_will_come(network: tuple[Line, dict[int, int]], bell_fd: int) -> None:
    """The word may come in the middle of it."""

    def task() -> object:
        bell = Bell(3, repeat(None), lambda: bell.disconnected())  # noqa: PLW0108 - there is none yet
        return watched(bell).line(lambda _line: 9)

    assert DISCONNECTED == run(task, network[1] | {3: bell_fd})


def test_a_reply_that_finds_no_room_is_nobodys(bell_fd: int) -> None:
    """Who would have read it has gone."""
    reader, writer = small_pipe()
    descriptors.fill(writer)

    def task() -> object:
        bell = Bell(3, repeat(None), lambda: bell.disconnected())  # noqa: PLW0108 - there is none yet
        return watched(bell).reply(b"+OK\r\n")

    assert DISCONNECTED == run(task, {1: writer, 3: bell_fd})
    descriptors.close({reader, writer})


def test_who_has_a_watch_serves_on_behind_a_reply_that_failed(bell_fd: int) -> None:
    """Only a watch can tell where that ends; a timeout ends the session in any case."""

    def task() -> list[object]:
        wire = watched(bell := Bell(3, repeat(None)))
        found = [wire.serves_on(None), wire.serves_on(TIMEOUT), bell.over, wire.serves_on(DISCONNECTED)]
        return [*found, bell.over, Wire(IDLE, MOST).serves_on(DISCONNECTED)]

    assert [False, False, False, True, True, False] == run(task, {3: bell_fd})
