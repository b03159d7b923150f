"""The spooler, a process that lives as long as the listener does."""

import errno
import fcntl
import os
import resource
import signal
import socket
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from observability.event import build
from qmail_popup.listener.process.loop import Loop
from qmail_popup.listener.spawner import spooler
from qmail_popup.settings import Settings
from tests.support import processes
from tests.support.child import Child
from tests.support.listener import left_in
from tests.support.resident import LOGIN, Listener, name_of
from tests.support.waiting import until

_PEER, _DESCRIPTORS, _EVENTS = 3, 20, 40
_LOGINS = 3
_EVENT = build({b"PID": b"1"})


@contextmanager
def _one_runs(spool: Path) -> Iterator[None]:
    with (spool / "pusher.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _one_has_failed(spool: Path) -> Iterator[None]:
    (spool / "pusher.error").touch()
    yield


@contextmanager
def _no_processes(_spool: Path) -> Iterator[None]:
    with mock.patch.object(os, "fork", side_effect=BlockingIOError):
        yield


def _serve(spool: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, hard))
    environ = {b"QMAIL_POPUP_SPOOL": os.fsencode(spool), b"QMAIL_POPUP_PUSHGATEWAY": b"http://127.0.0.1:9"}
    with socket.socket(fileno=_PEER) as peer:
        spooler.serve(peer, Settings([b"host", b"true"], environ), f"{spool}/qmail-popup-listener")


def _send(task: Callable[[], None], events: int) -> None:
    """Send events to a spooler until it has written all and ended."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, Child(task, {_PEER: theirs.fileno()}) as child:
        theirs.close()
        with ours:
            for _ in range(events):
                ours.send(_EVENT)
        child.result()


@pytest.mark.parametrize("pusher", [_one_runs, _one_has_failed, _no_processes])
def test_no_descriptor_is_left_of_an_event(
    tmp_path: Path, pusher: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """More events than descriptors are written, whatever keeps the spooler from starting a pusher."""

    def task() -> None:
        with pusher(tmp_path):
            _serve(tmp_path)

    _send(task, _EVENTS)
    assert _EVENTS == len(left_in(tmp_path))


@pytest.mark.parametrize("later", [0, 1])
def test_events_that_are_lost_without_a_spool(tmp_path: Path, later: int) -> None:
    """They are counted once it is there again, with the next event or at the end, each once."""
    spool = tmp_path / "spool"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, Child(lambda: _serve(spool), {_PEER: theirs.fileno()}) as child:
        theirs.close()
        with ours:
            for _ in range(3):
                ours.send(_EVENT)
            until(lambda: not any(fcntl.ioctl(ours, termios.TIOCOUTQ, bytes(4))))  # unread bytes
            spool.mkdir()
            for _ in range(2 * later):
                ours.send(_EVENT)
        child.result()
    assert 3 == (spool / "lost").stat().st_size
    assert 2 * later == (len(left_in(spool)) if later else 0)


def test_it_starts_a_pusher(tmp_path: Path) -> None:
    """The one beside the listener, with the options from the environment."""
    program, started = tmp_path / "qmail-popup-sidecar", tmp_path / "started"
    program.write_text(f'#!/bin/sh\necho "$*" >{started}\n')
    program.chmod(0o755)
    _send(lambda: _serve(tmp_path), 1)
    until(lambda: started.exists() and started.read_text().startswith("--once --push=http://127.0.0.1:9"))


def test_a_spooler_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """The events that it had not written are written once, by the next one."""
    spool = tmp_path / "spool"
    spool.mkdir()
    with Listener(tmp_path, env={"QMAIL_POPUP_SPOOL": str(spool)}) as listener:
        for kills in range(1, 3):
            (pid,) = _spoolers(listener)
            os.kill(pid, signal.SIGSTOP)
            for _ in range(_LOGINS):
                listener.talk(LOGIN)
            listener.wait_for_records(kills * _LOGINS)
            os.kill(pid, signal.SIGKILL)
            until(partial(_has, spool, kills * _LOGINS))


def test_a_kernel_without_memory() -> None:
    """An event waits, its loop does not turn without a pause meanwhile, and then it is sent."""
    loop, short = Loop(), OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = os.pidfd_open(os.getpid())
    with ours, theirs:
        peer = mock.Mock(fileno=ours.fileno, send=mock.Mock(side_effect=[short, short, len(_EVENT)]))
        waiting = spooler.Spooler(loop, (peer, theirs), lambda _peer: process)
        began = time.monotonic()
        waiting.put(_EVENT)
        while waiting:
            loop.turn()
        assert time.monotonic() - began >= 0.2
        assert 3 == peer.send.call_count
    os.close(process)


def _spoolers(listener: Listener) -> list[int]:
    running = [pid for pid in processes.children(listener.spawner()) if not processes.is_gone(pid)]
    return [pid for pid in running if name_of(pid) == "popup-spooler"]


def _has(spool: Path, events: int) -> bool:
    return len(left_in(spool)) == events
