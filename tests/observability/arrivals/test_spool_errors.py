"""The spool: what is in the way is told, spoils nothing beside it, and is tried again by the next drain."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

import pytest

from observability.arrivals.parsing import SPOOL
from observability.arrivals.spool import MAX_FILES, Spool
from observability.event import build
from observability.spoolfile import MAX_SPOOL
from tests.support.arrivals import Clock, drained, reasons
from tests.support.child import run
from tests.support.programs import need_root
from tests.support.sidecar import fields, spooled

_OTHER_USER = 64_027


def test_a_writer_in_flight_is_waited_for(spool: Spool, directory: Path) -> None:
    """Its lock keeps the file, without anybody waiting, and the drain is not complete."""
    path = directory / "spool"
    path.write_bytes(spooled(build(fields())))
    with path.open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        assert ([], None) == drained(spool)
        assert "is writing to it" in spool.error
        writer.write(spooled(build(fields())))
    arrivals, began = drained(spool)
    assert [SPOOL, SPOOL] == reasons(arrivals)
    assert began is not None
    assert "" == spool.error


def _link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere")


_MAKERS: dict[str, Callable[[Path], None]] = {"directory": Path.mkdir, "link": _link, "fifo": os.mkfifo}


@pytest.mark.parametrize("kind", _MAKERS)
def test_what_is_no_file_is_never_opened(spool: Spool, directory: Path, tmp_path: Path, kind: str) -> None:
    """Neither as the spool nor as something that was taken; what is a file is drained beside it."""
    target = tmp_path / "elsewhere"
    target.write_bytes(spooled(build(fields())))
    for path in (directory / "spool", directory / "taken.1"):
        _MAKERS[kind](path)
    (directory / "taken.2").write_bytes(spooled(build(fields())))
    assert [SPOOL] == reasons(drained(spool)[0])
    assert {"spool", "taken.1"} == {path.name for path in directory.iterdir()}
    assert target.exists()


def test_a_directory_that_is_missing_has_nothing_in_it(tmp_path: Path, clock: Clock) -> None:
    """Where nobody can leave anything, nothing can come back."""
    spool = Spool(tmp_path / "missing", clock)
    assert ([], clock.now) == drained(spool)
    assert (0, None) == (spool.waiting_bytes(), spool.lost_bytes())


def test_a_directory_that_is_none_is_an_error(tmp_path: Path, clock: Clock) -> None:
    """Then the drain is not complete, and the reason is told."""
    path = tmp_path / "file"
    path.touch()
    spool = Spool(path, clock)
    assert ([], None) == drained(spool)
    assert "Not a directory" in spool.error
    assert (0, None) == (spool.waiting_bytes(), spool.lost_bytes())


def test_what_another_drained_meanwhile_is_left_to_it(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that goes between its opening and its locking was counted by who took it away."""
    (directory / "spool").write_bytes(spooled(build(fields())))
    lock = fcntl.flock

    def late(fd: int, operation: int) -> None:  # the moment is the kernel's: nothing else can hit it
        for taken in directory.glob("taken.*"):
            taken.unlink()
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert ([], None) == drained(spool)
    assert "another process has drained it" in spool.error


def test_what_another_removed_meanwhile_is_an_error(spool: Spool, directory: Path) -> None:
    """It was counted here, and it is gone: but by whose doing, and what came in its place, nobody knows."""
    (directory / "spool").write_bytes(spooled(build(fields())))
    spool.begin()
    while spool.arrivals():
        assert spool.settle() is None
    for taken in directory.glob("taken.*"):
        taken.unlink()
    assert spool.settle() is None
    assert not spool.is_draining
    assert "No such file" in spool.error


def test_a_disk_that_fails_is_an_error(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file stays, and the lock on it goes: the next drain reads it from its beginning."""
    (directory / "spool").write_bytes(spooled(build(fields())))

    def failing(_fd: int, _size: int) -> bytes:  # a disk that fails when it is told to is not to be had
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", failing)
        assert ([], None) == drained(spool)
    assert os.strerror(errno.EIO) in spool.error
    assert [SPOOL] == reasons(drained(spool)[0])


def test_a_directory_that_may_only_be_listed_is_an_error() -> None:
    """What is in it is not to be seen, so nobody knows whether all was drained."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="shared-") as scratch:
        directory = Path(scratch)
        (directory / "spool").write_bytes(spooled(build(fields())))
        directory.chmod(0o744)
        assert (None, 0) == run(lambda: _drained_as(_OTHER_USER, directory))


def _drained_as(user: int, directory: Path) -> tuple[float | None, int]:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    with closing(Spool(directory, time.monotonic)) as spool:
        return drained(spool)[1], spool.waiting_bytes()


@pytest.mark.parametrize("name", ["spool", "taken.z"])
def test_what_may_not_be_renamed_holds_up_nothing_else(name: str) -> None:
    """In a directory with the sticky bit: neither what is to be taken, nor what is to be set aside."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="shared-") as scratch:
        directory = Path(scratch)
        with (directory / name).open("xb") as file:
            file.truncate(1 << 40)
        (directory / "taken.1").write_bytes(spooled(build(fields())))
        (directory / "taken.1").chmod(0o666)
        os.chown(directory / "taken.1", _OTHER_USER, _OTHER_USER)
        directory.chmod(0o1777)
        assert (1, "Operation not permitted") == run(lambda: _events_and_error(_OTHER_USER, directory))
        assert not (directory / "taken.1").exists()


def _events_and_error(user: int, directory: Path) -> tuple[int, str]:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    with closing(Spool(directory, time.monotonic)) as spool:
        arrivals, _ = drained(spool)
        return len(arrivals), spool.error.rpartition(": ")[2]


def test_what_is_too_large_is_set_aside(spool: Spool, directory: Path) -> None:
    """A sparse file of a terabyte is read by nobody, is told, and holds up nothing beside it."""
    (directory / "taken.1").write_bytes(spooled(build(fields())))
    with (directory / "taken.z").open("xb") as file:
        file.truncate(1 << 40)
    arrivals, began = drained(spool)
    assert [SPOOL] == reasons(arrivals)
    assert began is not None
    (aside,) = directory.iterdir()
    assert [aside / "taken.z"] == list(aside.iterdir())
    assert f"spool files too large or too many, moved to {aside}: 1" == spool.notice
    assert 0 == spool.waiting_bytes()


def test_a_spool_that_is_too_large_is_set_aside(spool: Spool, directory: Path) -> None:
    """Popups stop at 64 MiB: what is twice as large was written by somebody else."""
    with (directory / "spool").open("xb") as file:
        file.truncate(2 * MAX_SPOOL + 1)
    assert [] == drained(spool)[0]
    assert spool.notice
    assert 0 == spool.waiting_bytes()


def test_too_many_files_are_set_aside(spool: Spool, directory: Path) -> None:
    """Sixty thousand links to one file keep nobody busy for days; popups may use the directory again."""
    (directory / "taken.event").write_bytes(spooled(build(fields())))
    (directory / "link").write_bytes(spooled(build(fields())) * 10)
    for number in range(3000):
        (directory / f"taken.{number}").hardlink_to(directory / "link")
    arrivals, _ = drained(spool)
    assert 1 + 10 * (MAX_FILES - 1) == len(arrivals)
    assert spool.notice.endswith(": 2001")
    assert {"link", "aside"} == {path.name.partition(".")[0] for path in directory.iterdir()}


def test_the_directory_and_lost_are_made(tmp_path: Path, clock: Clock) -> None:
    """Root and the popups' group share both, and a byte keeps a place in `lost` that stands for no event."""
    directory = tmp_path / "made"
    with closing(Spool(directory, clock)) as spool:
        assert spool.keep() is None
        assert spool.keep() is None
        assert [0o42770, 0o100660] == [path.stat().st_mode for path in (directory, directory / "lost")]
        assert (1, 0) == ((directory / "lost").stat().st_size, spool.lost_bytes())
        with (directory / "lost").open("ab") as file:
            file.write(b"..")
        assert 2 == spool.lost_bytes()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_directory_that_is_removed_is_made_again(
    spool: Spool, directory: Path, *, is_replaced: bool
) -> None:
    """That is told, once, and what comes after it is counted."""
    spool.keep()
    shutil.rmtree(directory)
    if is_replaced:
        directory.mkdir()
    lost = spool.keep()
    assert lost
    assert (True, True) == (lost.is_mended, str(directory) in lost.message)
    assert spool.keep() is None
    (directory / "spool").write_bytes(spooled(build(fields())))
    assert [SPOOL] == reasons(drained(spool)[0])


def test_a_directory_that_cannot_be_looked_at_is_not_lost(spool: Spool, directory: Path) -> None:
    """Without a descriptor to look with that is an error, each time, until there is one again."""
    spool.keep()
    for _ in range(2):
        soft, hard = getrlimit(RLIMIT_NOFILE)
        setrlimit(RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                spool.keep()
        finally:
            setrlimit(RLIMIT_NOFILE, (soft, hard))
        assert spool.keep() is None
    assert (directory / "lost").exists()


def test_a_directory_that_cannot_be_made_again_is_told(spool: Spool, directory: Path) -> None:
    """For as long as that is so."""
    spool.keep()
    shutil.rmtree(directory)
    directory.write_bytes(b"in the way")
    for _ in range(2):
        lost = spool.keep()
        assert lost
        assert (False, True) == (lost.is_mended, str(directory) in lost.message)
    directory.unlink()
    lost = spool.keep()
    assert lost
    assert lost.is_mended
