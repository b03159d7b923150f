"""The spool in its thread: what it hands over, and that a file system which hangs holds up nobody."""

import os
import select
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from observability.arrivals.parsing import SPOOL
from observability.arrivals.spool import Spool
from observability.arrivals.spool_thread import SpoolThread
from observability.event import build
from tests.support.arrivals import Clock, reasons
from tests.support.sidecar import fields, spooled
from tests.support.waiting import until

_INTERVAL = 0.02
_AT_ONCE = 0.5


@contextmanager
def _threaded(directory: Path, *tasks: object) -> Iterator[SpoolThread]:
    spool = Spool(directory, Clock())
    with closing(SpoolThread(spool, [spool.keep, *tasks], _INTERVAL)) as thread:  # type: ignore[list-item]
        yield thread


@pytest.fixture
def thread(tmp_path: Path) -> Iterator[SpoolThread]:
    """Give what empties a directory that it has made."""
    with _threaded(tmp_path / "spool") as thread:
        yield thread


def test_what_it_makes_is_there_when_it_has_begun(thread: SpoolThread, tmp_path: Path) -> None:
    """Whoever is told that the sidecar is ready may use the spool."""
    assert (0, 0, False) == (thread.waiting_bytes(), thread.lost_bytes(), thread.is_draining)
    assert ["lost"] == [path.name for path in (tmp_path / "spool").iterdir()]


def test_a_file_goes_once_its_events_are_committed(thread: SpoolThread, tmp_path: Path) -> None:
    """Not before; and who waits on the descriptor is woken for each piece."""
    with select.epoll() as poll:
        poll.register(thread.wake, select.EPOLLIN | select.EPOLLET)
        (tmp_path / "spool/spool").write_bytes(spooled(build(fields())))
        assert poll.poll(30)
        until(lambda: thread.is_draining)
        assert [SPOOL] == reasons(thread.arrivals())
        assert ["lost", "taken"] == _names(tmp_path / "spool")
        assert [] == thread.arrivals()
        thread.settle()
        until(lambda: ["lost"] == _names(tmp_path / "spool"))
        until(lambda: thread.settle() is not None)
        assert not poll.poll(0)


def test_what_is_not_committed_at_the_end_stays(tmp_path: Path) -> None:
    """The next one counts it."""
    with _threaded(tmp_path / "spool") as thread:
        (tmp_path / "spool/spool").write_bytes(spooled(build(fields())))
        until(lambda: thread.is_draining)
        assert [SPOOL] == reasons(thread.arrivals())
    assert ["lost", "taken"] == _names(tmp_path / "spool")
    with _threaded(tmp_path / "spool") as thread:
        until(lambda: thread.is_draining)
        assert [SPOOL] == reasons(thread.arrivals())


def test_a_file_system_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """What was last known is shown; once it goes on, all is drained."""
    goes_on, hangs = threading.Event(), threading.Event()

    def hang() -> None:
        if (tmp_path / "hang").exists():
            hangs.set()
            goes_on.wait(30)

    with _threaded(tmp_path / "spool", hang) as thread:
        (tmp_path / "hang").touch()
        assert hangs.wait(30)
        (tmp_path / "spool/spool").write_bytes(spooled(build(fields())))
        assert (0, 0, []) == (thread.waiting_bytes(), thread.lost_bytes(), thread.arrivals())
        (tmp_path / "hang").unlink()
        goes_on.set()
        until(lambda: thread.is_draining)


def test_an_error_that_nobody_thought_of_is_told(tmp_path: Path) -> None:
    """And does not end the thread."""
    broken = [True]

    def fail() -> None:
        if broken:
            raise ValueError("nobody thought of that")

    with _threaded(tmp_path / "spool", fail) as thread:
        assert "cannot drain the spool: nobody thought of that" == thread.error
        broken.clear()
        until(lambda: not thread.error)


def _names(directory: Path) -> list[str]:
    return sorted(name.partition(".")[0] for name in os.listdir(directory))
