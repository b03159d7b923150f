"""The mirror without a popup around it: what only it can be asked."""

import fcntl
import os
import posix
import resource
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from observability.event import build
from observability.mirror import MAX_SECONDS
from observability.spoolfile import leave
from tests.support.child import Child, run
from tests.support.listener import Block, Listener, left_in
from tests.support.mirrors import mirror, over, whole_session
from tests.support.spooling import lost
from tests.support.waiting import until


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return a spool directory."""
    made = tmp_path / "spool"
    made.mkdir()
    return made


def _ensure_pusher(spool: Path) -> None:
    """Do what a popup does last of all that is installed beside the spool."""
    mirror(spool).ensure_pusher(str(spool.parent / "qmail-popup"), {b"--state": b"kept"})


def test_who_gets_the_lock_starts_a_pusher(tmp_path: Path, spool: Path) -> None:
    """Who comes while that one lives finds the lock taken, and starts none."""
    pusher, started, end = tmp_path / "qmail-popup-sidecar", tmp_path / "started", tmp_path / "end"
    os.mkfifo(end)
    pusher.write_text(f'#!/bin/sh\necho "$*" >>{started}\nexec cat {end}\n')
    pusher.chmod(0o755)
    try:
        run(lambda: _ensure_pusher(spool))
        run(lambda: _ensure_pusher(spool))
        until(lambda: started.exists() and started.read_text() == "--once --state=kept\n")
    finally:
        os.close(os.open(end, os.O_RDWR))  # waits for nobody, if none was started
    assert 0o100660 == (spool / "pusher.lock").stat().st_mode


@pytest.mark.parametrize("new", [0, 1])
@pytest.mark.parametrize("goes", ["taken.1", ""])
def test_a_spool_that_goes_meanwhile_gets_nothing(
    spool: Path, monkeypatch: pytest.MonkeyPatch, new: int, goes: str
) -> None:
    """A file that goes between its opening and its locking is drained: the event belongs to the next one."""
    (spool / "0").touch()
    (spool / "1").touch()
    files = sorted(spool.iterdir(), key=lambda path: path.stat().st_ino)
    following = files.pop(new)
    files[0].rename(spool / "spool")
    lock = fcntl.flock

    def late(fd: int, operation: int) -> None:  # the moment is the kernel's: nothing else can hit it
        if following.exists() and goes:
            (spool / "spool").rename(spool / goes)
            following.rename(spool / "spool")
        elif following.exists():
            (spool / "spool").unlink()
            following.unlink()
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    _leave_one(spool)
    assert [1, 0] == [len(left_in(spool)), lost(spool)]


def _leave_one(spool: Path) -> None:
    run(lambda: leave(os.fsencode(spool), build({b"PID": b"1"})))


def test_a_file_that_is_removed_right_after_its_opening_loses_nothing(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no link any more, which is no link too many."""
    look = posix.fstat

    def late(fd: int) -> os.stat_result:  # the moment is the kernel's, as above
        if (spool / "spool").exists() and not (spool / "gone").exists():
            (spool / "gone").touch()
            (spool / "spool").unlink()
        return look(fd)

    monkeypatch.setattr(posix, "fstat", late)
    _leave_one(spool)
    assert [1, 0] == [len(left_in(spool)), lost(spool)]


def test_writers_do_not_keep_each_other_away(spool: Path) -> None:
    """Only who drains wants the file alone; and whatever its mode, a regular file is one."""
    with (spool / "spool").open("wb") as other:
        (spool / "spool").chmod(0o777)
        fcntl.flock(other, fcntl.LOCK_SH)
        _leave_one(spool)
    assert [1, 0] == [len(left_in(spool)), lost(spool)]


def test_a_lock_is_not_tried_for_for_ever(spool: Path) -> None:
    """What it takes is far below a second; this is so generous because the machine may be busy."""
    with (spool / "spool").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        began = time.monotonic()
        _leave_one(spool)
        assert time.monotonic() - began < 6
    assert 1 == lost(spool)


def _session(tmp_path: Path) -> None:
    whole_session(tmp_path / "spool", tmp_path / "socket")


def test_what_was_acknowledged_is_left_nowhere_else(tmp_path: Path, spool: Path) -> None:
    """Neither in the spool nor over another connection: it would be no harm, but work."""
    with Listener(tmp_path / "socket") as sidecar, Child(lambda: _session(tmp_path)) as session:
        with closing(sidecar.accept()) as caller:
            caller.block()
            assert caller.block()
            caller.acknowledge()
            session.result()
        assert not sidecar.has_caller()
    assert [] == left_in(spool)


def test_what_can_be_sent_is_sent_before_anything_is_closed(tmp_path: Path, spool: Path) -> None:
    """A server that ends the popup as soon as its pipe is closed comes too late for the event."""

    def task() -> list[Block | None]:
        told, seen = mirror(spool, tmp_path / "socket"), list[Block | None]()
        with Listener(tmp_path / "socket") as sidecar:
            told.hello(over())
            with closing(sidecar.accept()) as caller:

                def hang_up() -> None:
                    seen.extend([caller.block(), caller.block()])
                    caller.acknowledge()

                told.finish(over(), hang_up)
                signal.setitimer(signal.ITIMER_REAL, 0)
        return seen

    hello, event = run(task)
    assert hello
    assert event
    assert (hello[b"TRACE"], []) == (event[b"TRACE"], left_in(spool))


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_a_connection_that_ends_acknowledges_nothing(tmp_path: Path, spool: Path, blocks: int) -> None:
    """A sidecar that goes may not have committed what it read, nor read all: the next one gets it too."""
    with Listener(tmp_path / "socket") as sidecar, Child(lambda: _session(tmp_path)) as session:
        with closing(sidecar.accept()) as first:
            told = [first.block() for _ in range(blocks)]
        with closing(sidecar.accept()) as second:
            event = second.block()
            assert event
            assert [event] == (told[1:] or [event])
            second.acknowledge()
        session.result()
    assert [] == left_in(spool)


def test_two_connections_are_enough(tmp_path: Path, spool: Path) -> None:
    """Where the one after the session's ends, too, the spool gets the event."""
    with Listener(tmp_path / "socket") as sidecar, Child(lambda: _session(tmp_path)) as session:
        for _ in range(2):
            sidecar.accept().close()
        session.result()
        assert not sidecar.has_caller()
    assert 1 == len(left_in(spool))


def _descriptors(tmp_path: Path) -> dict[int, bool]:
    """Say hello; what is open then, and whether a subprogram would inherit it."""
    before = set(os.listdir("/proc/self/fd"))
    mirror(tmp_path, tmp_path / "socket").hello(over())
    after = {int(name) for name in set(os.listdir("/proc/self/fd")) - before}
    return {fd: os.get_inheritable(fd) for fd in after}


def test_its_connection_has_the_next_number_from_ten_that_is_free(tmp_path: Path) -> None:
    """It leaves alone what is open, and is no subprogram's."""
    with Listener(tmp_path / "socket"), (tmp_path / "other").open("wb") as other:
        assert {10: False} == run(lambda: _descriptors(tmp_path))
        assert {11: False} == run(lambda: _descriptors(tmp_path), {10: other.fileno()})
        assert {12: False} == run(lambda: _descriptors(tmp_path), {10: other.fileno(), 11: other.fileno()})


@pytest.mark.parametrize(("limit", "placed"), [(14, {}), (15, {}), (16, {11: False}), (1024, {11: False})])
def test_a_session_keeps_five_descriptors(tmp_path: Path, limit: int, placed: dict[int, bool]) -> None:
    """Where a limit leaves no more than those to it, nothing is sent before its end."""

    def task() -> dict[int, bool]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        return _descriptors(tmp_path)

    with Listener(tmp_path / "socket"), (tmp_path / "other").open("wb") as other:
        assert placed == run(task, dict.fromkeys(range(10), other.fileno()))


def test_a_directory_that_is_missing_starts_nothing(tmp_path: Path) -> None:
    """And that is no fault of the session."""
    run(lambda: _ensure_pusher(tmp_path / "missing"))
    assert [] == os.listdir(tmp_path)


def test_it_costs_the_popup_no_import_but_its_own(checkout: Path) -> None:
    """Besides the event it loads nothing that the popup itself does not need."""
    script = (
        f"import sys; sys.path.insert(0, {str(checkout)!r}); import qmail_popup.__main__;"
        "before = {*sys.modules}; import observability.mirror; print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=True)
    assert ["observability", "observability.event", "observability.mirror"] == loaded.stdout.split()


@pytest.mark.parametrize("step", ["open", "write", "scandir"])
def test_a_file_system_that_hangs_is_not_waited_for(
    spool: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Others are let go, then the kernel ends the popup, though SIGALRM had been ignored and blocked."""
    (never, writer), (told, end) = os.pipe(), os.pipe()
    call = getattr(posix, step)

    def hang(place: bytes | int, *rest: int) -> object:  # as NFS does whose server is away
        if isinstance(place, int) or os.fsencode(spool) in os.fsencode(place):
            os.read(never, 1)
        return call(place, *rest)

    def task() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        monkeypatch.setattr(posix, step, hang)
        mirror(spool).finish(over(), lambda: os.close(end))

    assert 0.3 == pytest.approx(MAX_SECONDS)
    with Child(task, {never: never, writer: writer, end: end}) as child:
        os.close(end)
        assert b"" == os.read(told, 1)
        assert -signal.SIGALRM == child.status()
    for fd in (never, writer, told):
        os.close(fd)


def _slower() -> float:
    """Return how many times as long as it ran this process has waited for a processor."""
    ran, waited, _slices = map(int, Path("/proc/self/schedstat").read_text().split())
    return waited / ran


def test_a_starved_popup_gets_more_time(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others on its only processor make it slower, and its alarm comes later by as much."""
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("the kernel does not count how long a process waits for a processor")
    left: list[float] = []

    def spied(path: bytes | str, flags: int, mode: int = 0o777) -> int:
        if os.fsencode(path).startswith(os.fsencode(spool)):
            left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        return opened(path, flags, mode)

    def task() -> float:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        others = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(4)]
        until(lambda: _slower() > 2)
        monkeypatch.setattr(posix, "open", spied)
        mirror(spool).finish(over(), lambda: None)
        for other in others:
            other.kill()
            other.wait()
        return left[0]

    opened = posix.open
    assert run(task) > 2 * MAX_SECONDS
    assert 1 == len(left_in(spool))


@pytest.mark.parametrize("error", [FileNotFoundError, ValueError])
def test_a_kernel_without_such_counts(
    spool: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """There a popup has the time that it has alone, and its event is left in the spool."""
    opened = posix.open

    def without(path: bytes | str, flags: int, mode: int = 0o777) -> int:
        if path == "/proc/self/schedstat":
            raise error
        return opened(path, flags, mode)

    def task() -> float:
        monkeypatch.setattr(posix, "open", without)
        mirror(spool).finish(over(), lambda: None)
        return signal.getitimer(signal.ITIMER_REAL)[0]

    assert 0 < run(task) <= MAX_SECONDS
    assert 1 == len(left_in(spool))


def test_a_close_that_hangs_ends_the_popup(tmp_path: Path, spool: Path) -> None:
    """Also where the sidecar has the event already: it counts, and the popup is not left behind."""
    never, writer = os.pipe()

    def hang() -> None:
        os.read(never, 1)

    def task() -> None:
        popup = mirror(spool, tmp_path / "socket")
        popup.hello(over())
        popup.finish(over(), hang)

    with Listener(tmp_path / "socket"), Child(task, {never: never, writer: writer}) as child:
        assert -signal.SIGALRM == child.status()
    os.close(never)
    os.close(writer)
