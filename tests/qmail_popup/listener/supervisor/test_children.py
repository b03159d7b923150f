"""A child of the supervisor: when it serves, what is told of its end, and when it is started again."""

import errno
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest

from qmail_popup.listener.ipc.control import announce
from qmail_popup.listener.supervisor import children
from qmail_popup.listener.supervisor.children import Child
from tests.support.processes import is_gone
from tests.support.waiting import until


class Run:
    """A child that is started again and again, and the clock that it is started by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.child, self.now = Child("worker 3"), 1000.0
        monkeypatch.setattr(children, "time", SimpleNamespace(monotonic=lambda: self.now))

    def start(self, task: Callable[[socket.socket], None]) -> None:
        """Start it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.child.fork(ours, theirs, partial(task, theirs), {theirs.fileno()})

    def end(self, seconds: float = 1.0) -> str:
        """Have it end so many seconds after its start; return the line for the log."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.child.pid, 0)[1])
        self.now += seconds
        return self.child.ended(status)

    def pause(self, seconds: float) -> float:
        """Have it run for so long; return how long it is to wait then."""
        self.start(lambda _peer: None)
        told = self.end(seconds)
        pause = float(told.split("restarting in ")[1].removesuffix(" s"))
        assert pause == pytest.approx(self.child.due - self.now)
        return pause


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a child that was not started yet."""
    return Run(monkeypatch)


def test_pauses(run: Run) -> None:
    """They grow with each failure, up to half a minute; who has run for more than a minute begins again."""
    assert [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 30.0] == [run.pause(1) for _ in range(7)]
    assert [30.0, 0.1, 0.1, 0.3] == [run.pause(seconds) for seconds in (60, 61, 1, 1)]


def test_a_child_without_a_descriptor(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is ended, and it is not taken to run; pauses grow as after an end."""
    pids: list[int] = []

    def fail(pid: int) -> int:
        pids.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", fail)
    for pause in (0.1, 0.3):
        with pytest.raises(OSError, match="Too many") as caught:
            run.start(lambda _peer: signal.pause())
        told = f"cannot start worker 3: Too many open files; trying again in {pause} s"
        assert told == run.child.failed(caught.value)
        assert (0, None, run.now + pause) == (run.child.pid, run.child.control, run.child.due)
    assert [True, True] == [is_gone(pid) for pid in pids]


def test_a_child_that_serves(run: Run) -> None:
    """It does once it has said so, and no longer than it runs."""
    assert (0, False, 0.0) == (run.child.pid, run.child.serves, run.child.due)
    run.child.listen()
    run.start(announce)
    assert not run.child.serves
    until_it_serves(run.child)
    run.child.listen()
    pid = run.child.pid
    assert f"worker 3, process {pid}, exited with status 0; restarting in 0.1 s" == run.end()
    assert (0, None, False) == (run.child.pid, run.child.control, run.child.serves)


def until_it_serves(child: Child) -> None:
    """Look until it says so."""

    def serves() -> bool:
        child.listen()
        return child.serves

    until(serves)


def _crash(peer: socket.socket) -> None:
    announce(peer)
    raise ValueError("a secret")


def _speak(words: bytes) -> Callable[[socket.socket], None]:
    def task(peer: socket.socket) -> None:
        peer.send(words)
        os.kill(os.getpid(), 9)

    return task


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (lambda _peer: os.kill(os.getpid(), 9), "was killed by signal 9"),
        (_speak(b"two words"), "was killed by signal 9 (two words)"),
        (_speak(b"two\nlines"), "was killed by signal 9"),
        (_speak(b"\xff"), "was killed by signal 9 (\N{REPLACEMENT CHARACTER})"),
        (lambda _peer: os._exit(3), "exited with status 3"),
    ],
)
def test_why_it_ended(run: Run, task: Callable[[socket.socket], None], told: str) -> None:
    """Its last words are told only if they are a line that may be shown."""
    run.start(task)
    assert told == run.end().split(", ", 2)[2].removesuffix("; restarting in 0.1 s")


def test_how_it_ended() -> None:
    """A signal has a number of its own, and so has the smallest."""
    assert ("was killed by signal 1", "exited with status 0") == (children.how(-1), children.how(0))


def test_a_crash(run: Run) -> None:
    """Where it happened is told, though nobody had heard yet that it served; never what was in it."""
    run.start(_crash)
    told = run.end()
    assert " exited with status 1 (ValueError at test_children.py:" in told
    assert "secret" not in told
