"""The mirror where an event cannot be left in the spool: it is lost, it counts, and nobody is held up."""

import fcntl
import os
import posix
import resource
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import pytest

from observability.event import SEPARATOR, build
from observability.spoolfile import leave
from tests.support.child import run
from tests.support.descriptors import CHECKOUT
from tests.support.keeper import Keeper
from tests.support.listener import left_in
from tests.support.mirrors import whole_session
from tests.support.mounts import mounted
from tests.support.programs import need_root
from tests.support.scraper import counts
from tests.support.spooling import lost, refused_session

_OTHER_USER = 64_025
_SPOOL_MOST = 64 * 2**20
_EVENT_MOST = 4096 + len(SEPARATOR)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return a spool directory."""
    made = tmp_path / "spool"
    made.mkdir()
    return made


@pytest.mark.parametrize("taken", [False, True], ids=["in one file", "with what was taken away"])
def test_it_stops_at_its_limit(popup: list[str], spool: Path, *, taken: bool) -> None:
    """An event that still fits is left; of those behind it each is a byte in `lost`."""
    with (spool / ("taken.1" if taken else "spool")).open("wb") as file:
        file.truncate(_SPOOL_MOST - _EVENT_MOST)
    refused_session(popup, spool)
    assert 0 == lost(spool)
    size = (spool / "spool").stat().st_size
    with (spool / "taken.2").open("wb") as file:
        file.truncate(_EVENT_MOST)
    refused_session(popup, spool)
    refused_session(popup, spool)
    assert (2, size) == (lost(spool), (spool / "spool").stat().st_size)


@pytest.mark.parametrize(("over", "losses"), [(0, 0), (1, 1)])
def test_its_limit_is_a_limit_to_the_byte(spool: Path, over: int, losses: int) -> None:
    """What fills it up is left; what is a byte longer is lost."""
    block = build({b"PID": b"1"})
    with (spool / "spool").open("wb") as file:
        file.truncate(_SPOOL_MOST - len(SEPARATOR + block) + over)
    run(lambda: leave(os.fsencode(spool), block))
    assert losses == lost(spool)


@pytest.mark.parametrize(("over", "losses"), [(0, 0), (1, 1)])
def test_what_is_drained_meanwhile_takes_no_room(
    spool: Path, monkeypatch: pytest.MonkeyPatch, over: int, losses: int
) -> None:
    """A file that was in the directory, and is not any more, has not a byte."""
    block = build({b"PID": b"1"})
    with (spool / "spool").open("wb") as file:
        file.truncate(_SPOOL_MOST - len(SEPARATOR + block) + over)
    scandir = posix.scandir

    def listed(path: bytes) -> AbstractContextManager[list["os.DirEntry[bytes]"]]:
        # The moment between listing and looking is the kernel's: nothing else can hit it.
        (spool / "taken.gone").write_bytes(b"event")
        entries = list(scandir(path))
        (spool / "taken.gone").unlink()
        return nullcontext(entries)

    monkeypatch.setattr(posix, "scandir", listed)
    run(lambda: leave(os.fsencode(spool), block))
    assert losses == lost(spool)


@pytest.mark.parametrize(("others", "losses"), [(1000, 0), (1001, 1)])
def test_more_files_than_a_drain_leaves_are_not_looked_at(spool: Path, others: int, losses: int) -> None:
    """Somebody in the group may leave any number there, and looking at each takes time."""
    for number in range(others - 1):
        (spool / f"taken.{number}").touch()
    block = build({b"PID": b"1"})
    run(lambda: leave(os.fsencode(spool), block))  # beside the spool itself
    assert losses == lost(spool)


def test_what_else_is_there_takes_no_room(spool: Path) -> None:
    """Only what is to be drained counts against the limit."""
    for name in ("lost", "spool.old"):
        with (spool / name).open("wb") as file:
            file.truncate(_SPOOL_MOST)
    run(lambda: leave(os.fsencode(spool), build({b"PID": b"1"})))
    assert (1, _SPOOL_MOST) == (len(left_in(spool)), lost(spool))


def test_a_lock_that_nobody_gives_back_loses_the_event(popup: list[str], spool: Path) -> None:
    """Who is in the group may do that; the popup does not wait for it."""
    with (spool / "spool").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused_session(popup, spool)
    assert (1, []) == (lost(spool), left_in(spool))


def test_a_directory_of_somebody_else_is_left_alone() -> None:
    """Whoever may not write there loses the event, and notices nothing."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="shared-") as scratch:
        Path(scratch).chmod(0o755)
        run(lambda: _finish_as(_OTHER_USER, Path(scratch)))
        assert [] == os.listdir(scratch)


def _finish_as(user: int, spool: Path) -> None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    whole_session(spool)


def test_a_directory_that_is_missing_is_not_made(popup: list[str], tmp_path: Path) -> None:
    """The event is gone, the session is as ever."""
    refused_session(popup, tmp_path / "missing")
    assert [] == os.listdir(tmp_path)


def test_a_limit_on_the_size_of_files_loses_the_event(popup: list[str], spool: Path) -> None:
    """Nothing of it fits: a byte in `lost`."""
    (spool / "spool").write_bytes(b"\0" * 4096)
    refused_session(popup, spool, prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    assert (1, 4096) == (lost(spool), (spool / "spool").stat().st_size)


@pytest.mark.parametrize(("room", "losses"), [(0, 1), (1, 1), (len(SEPARATOR), 1), (len(SEPARATOR) + 1, 0)])
def test_what_is_torn_before_it_began_is_lost(spool: Path, room: int, losses: int) -> None:
    """A separator alone is nothing that could be counted where it is drained."""
    (spool / "spool").write_bytes(b"\0" * 100)

    def leave_it() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100 + room, 100 + room))
        leave(os.fsencode(spool), build({b"PID": b"1"}))

    run(leave_it)
    assert (losses, 100 + room) == (lost(spool), (spool / "spool").stat().st_size)


def test_a_full_disk_takes_no_descriptors(spool: Path) -> None:
    """A spooler has to write many events after one that not even `lost` could count."""

    def leave_many() -> tuple[int, int]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with suppress(OSError):
                leave(os.fsencode(spool), build({b"PID": b"1"}))
        return before, len(os.listdir("/proc/self/fd"))

    before, after = run(leave_many)
    assert (before, 0) == (after, lost(spool))


def test_a_torn_event_is_counted_where_it_is_drained(popup: list[str], spool: Path) -> None:
    """A part of it fits: it is no byte in `lost`, and malformed; the event behind it counts."""
    (spool / "spool").write_bytes(b"\0" * 4000)
    refused_session(popup, spool, prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    refused_session(popup, spool)
    assert 0 == lost(spool)
    with Keeper(spool.parent) as keeper:
        numbers = keeper.start().drained()
    assert {("malformed",): 1} == counts(numbers, "telemetry_events_dropped_total", "reason")
    assert 1 == counts(numbers, "auth_attempts_total").total()


@pytest.fixture
def small_disk(spool: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Return a command that enters a place where the spool is a disk of 64 KiB, and the way to it."""
    with mounted(f"mount -t tmpfs -o size=64k none {spool}") as (enter, root):
        yield enter, Path(f"{root}{spool}")


def test_a_full_disk_loses_the_event(
    popup: list[str], spool: Path, small_disk: tuple[tuple[str, ...], Path]
) -> None:
    """Nothing is torn; it is counted where the disk still has room for that byte."""
    enter, outside = small_disk
    (outside / "lost").write_bytes(b".")  # a page that is not full
    (outside / "ballast").write_bytes(b"x" * (64 * 1024 - 4096))
    refused_session(
        popup, spool, *enter, env={"PYTHONPATH": str(CHECKOUT)}
    )  # the way in leads to another directory
    assert (2, 0) == (lost(outside), (outside / "spool").stat().st_size)
