"""From the start of TLS to the answer: SIGTERM, a login ahead of the answer, a client that leaves."""

import os
import select
import signal
import time
from collections.abc import Callable

import pytest

from qmail_popup import tls
from qmail_popup.tls import FAILED, Handshake
from qmail_popup.wire import DISCONNECTED, TIMEOUT
from tests.support import waiting
from tests.support.child import Child, run
from tests.support.handshake import (
    ANSWER,
    TOLD,
    Server,
    answered,
    started,
    until_heard,
)

# SIGTERM.


@pytest.mark.parametrize("said", [b"", ANSWER[:-1]], ids=["nothing", "half an answer"])
def test_sigterm_fails_the_handshake(server: Server, said: bytes) -> None:
    """It is no end of the popup but a word from the server, also where it comes while nobody waits."""

    def task() -> tuple[str | None, dict[bytes, bytes]]:
        handshake = started()
        os.kill(os.getpid(), signal.SIGTERM)
        return until_heard(handshake), handshake.answer

    server.control.sendall(said)
    assert (FAILED, {}) == run(task, server.fds)


def test_sigterm_behind_the_answer_leaves_the_handshake_good(server: Server) -> None:
    """The server wrote the answer first: what it says then is that nothing more will come."""

    def task() -> tuple[object, ...]:
        handshake = started(tls.watch())
        os.kill(os.getpid(), signal.SIGTERM)
        return until_heard(handshake), handshake.answer, handshake.over, handshake.why(DISCONNECTED)

    server.control.sendall(ANSWER)
    assert (None, TOLD, True, DISCONNECTED) == run(task, server.fds)


def test_a_poll_that_saw_the_signal_alone_looks_for_the_answer(server: Server) -> None:
    """Both may come while a poll is on its way past the control socket."""

    def task() -> tuple[object, ...]:
        handshake = started(tls.watch())
        os.kill(os.getpid(), signal.SIGTERM)
        woken = set(handshake.descriptors()) - {handshake.control}
        return handshake.ended(woken), handshake.answer, handshake.over

    server.control.sendall(ANSWER)
    assert (None, TOLD, True) == run(task, server.fds)


def test_sigterm_wakes_a_wait(server: Server) -> None:
    """A signal in the middle of a poll ends that poll."""
    with Child(answered, server.fds) as child:
        server.control.recv(1)
        os.kill(child.pid, signal.SIGTERM)
        assert (FAILED, {}) == child.result()


def test_many_signals_are_one(server: Server) -> None:
    """Signals beyond what the wakeup pipe holds neither block nor complain."""

    def task() -> str | None:
        handshake = started()
        for _ in range(70_000):
            os.kill(os.getpid(), signal.SIGTERM)
        return until_heard(handshake)

    assert FAILED == run(task, server.fds)


def test_behind_the_answer_sigterm_says_that_nothing_more_will_come(server: Server) -> None:
    """It was caught before the start, and stays so; it is no failure any more."""

    def task() -> tuple[object, ...]:
        handshake = started(tls.watch())
        assert until_heard(handshake) is None
        before = handshake.over
        os.kill(os.getpid(), signal.SIGTERM)
        (woken,) = handshake.descriptors()
        return before, handshake.ended([woken]), handshake.over, tuple(handshake.descriptors())

    server.control.sendall(ANSWER)
    assert (False, None, True, ()) == run(task, server.fds)


def test_an_ignored_sigterm_is_caught_for_that_stretch_alone(server: Server) -> None:
    """Before it and behind it, it says nothing."""

    def task() -> tuple[object, ...]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        handshake = started(tls.watch())
        caught = signal.getsignal(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        heard = until_heard(handshake)
        os.kill(os.getpid(), signal.SIGTERM)
        return (
            caught in (signal.SIG_DFL, signal.SIG_IGN),
            heard,
            handshake.over,
            tuple(handshake.descriptors()),
            signal.getsignal(signal.SIGTERM),
        )

    server.control.sendall(ANSWER)
    assert (False, None, False, (), signal.SIG_IGN) == run(task, server.fds)


# A login may be ahead of the answer.


def test_looking_waits_for_nothing(server: Server) -> None:
    """Where there is no answer yet, a look says nothing and leaves the stretch open."""

    def task() -> tuple[str | None, int]:
        handshake = started()
        return handshake.look(), len(handshake.descriptors())

    assert (None, 2) == run(task, server.fds)


@pytest.mark.parametrize(("said", "told"), [(ANSWER, TOLD), (b"\0", {}), (ANSWER[:-1], {})])
def test_a_look_takes_what_is_there(said: bytes, told: dict[bytes, bytes], server: Server) -> None:
    """An answer that has come counts, and one look and a second are as good."""

    def task() -> tuple[object, ...]:
        handshake = started()
        return handshake.look(), handshake.answer, handshake.look(), handshake.answer

    server.control.sendall(said)
    assert (None, told, None, told) == run(task, server.fds)


def test_a_look_sees_a_signal(server: Server) -> None:
    """A SIGTERM that has come is seen."""

    def task() -> str | None:
        handshake = started()
        os.kill(os.getpid(), signal.SIGTERM)
        return handshake.look()

    assert FAILED == run(task, server.fds)


def test_a_look_sees_the_end(server: Server) -> None:
    """The end of the control socket is seen."""
    with Child(lambda: _looked_behind(started()), server.fds) as child:
        server.hand_over()
        server.control.recv(1)
        server.control.close()
        assert FAILED == child.result()


def _looked_behind(handshake: Handshake) -> str | None:
    """Look as soon as the control socket has ended."""
    select.select([handshake.control], [], [], waiting.TIMEOUT)
    return handshake.look()


def test_settling_ends_the_stretch(server: Server) -> None:
    """Once settled there is nothing to wait for, nothing is caught, and nothing stays open."""

    def task() -> tuple[object, ...]:
        handshake = started()
        before = len(os.listdir("/proc/self/fd"))
        handshake.settle()
        handshake.settle()
        caught = signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
        return (
            handshake.look(),
            tuple(handshake.descriptors()),
            caught,
            before - len(os.listdir("/proc/self/fd")),
        )

    assert (None, (), (signal.SIG_DFL, -1), 2) == run(task, server.fds)


# Why a session ended.


def why(ended: str, act: Callable[[Handshake], object] = lambda _handshake: None) -> Callable[[], str]:
    """Return a task that starts TLS, does something, and asks why."""

    def task() -> str:
        handshake = started()
        act(handshake)
        return handshake.why(ended)

    return task


@pytest.mark.parametrize("ended", ["accepted", "quit", TIMEOUT, FAILED, "rejected"])
def test_only_a_lost_client_is_looked_into(ended: str, server: Server) -> None:
    """Any other end of a session is what it is."""
    assert ended == run(why(ended), server.fds)


def test_a_client_lost_before_the_answer(server: Server) -> None:
    """Before the answer, the end of the input is a failed handshake."""
    assert FAILED == run(why(DISCONNECTED), server.fds)


def test_a_client_lost_behind_the_answer(server: Server) -> None:
    """An answer that is there, read or unread, tells that the handshake was good."""
    server.control.sendall(ANSWER)
    assert DISCONNECTED == run(why(DISCONNECTED), server.fds)
    server.control.sendall(ANSWER)
    assert DISCONNECTED == run(why(DISCONNECTED, until_heard), server.fds)


def test_waiting_costs_nothing(server: Server) -> None:
    """No look at the handshake holds the client up."""

    def task() -> float:
        handshake = started()
        began = time.monotonic()
        for _ in range(1000):
            handshake.look()
        return time.monotonic() - began

    assert run(task, server.fds) < waiting.TIMEOUT
