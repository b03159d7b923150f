"""The pusher lock: who empties a spool."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from observability.store.locks import PusherLock
from tests.support.child import run


def test_one_has_the_lock(tmp_path: Path) -> None:
    """Who has it keeps it until it is given up, or its holder is gone."""
    with closing(PusherLock(tmp_path)) as second:
        with closing(PusherLock(tmp_path)) as first:
            assert first.take()
            assert first.take()
            assert not second.take()
            first.release()
            assert second.take()
            second.release()
            assert first.take()
        assert second.take()


def test_it_is_there_for_popups_of_other_users(tmp_path: Path) -> None:
    """Whatever the umask, the group may lock the file."""
    before = os.umask(0o077)
    with closing(PusherLock(tmp_path)) as turn:
        assert turn.take()
    os.umask(before)
    assert 0o660 == (tmp_path / "pusher.lock").stat().st_mode & 0o777


def test_the_lock_is_handed_over_as_descriptor_0(tmp_path: Path) -> None:
    """Who is started with the locked file has the lock, and can give it up for good."""

    def is_ours() -> tuple[bool, bool]:
        with closing(PusherLock(tmp_path)) as turn:
            ours = turn.take()
            turn.release()
        return ours, PusherLock(tmp_path).take()

    with closing(PusherLock(tmp_path)) as turn:
        assert turn.take()
        lock = os.open(f"/proc/self/fd/{_descriptor(tmp_path)}", os.O_RDWR)
        assert (False, False) == run(is_ours, {0: lock})  # another open file, however it came about
        os.close(lock)
        assert (True, True) == run(is_ours, {0: _descriptor(tmp_path)})
    assert (True, True) == run(is_ours)


def _descriptor(spool: Path) -> int:
    """Return the descriptor on which we have the lock's file open."""
    path = str(spool / "pusher.lock")
    return next(int(fd) for fd in os.listdir("/proc/self/fd") if _target(fd) == path)


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Who may write to the spool may not have us open something else."""
    (tmp_path / "pusher.lock").symlink_to(tmp_path / "elsewhere")
    with closing(PusherLock(tmp_path)) as turn, pytest.raises(OSError, match="symbolic"):
        turn.take()
    assert not (tmp_path / "elsewhere").exists()


def test_where_there_is_no_spool_there_is_no_lock(tmp_path: Path) -> None:
    """Which is told, until there is one."""
    spool = tmp_path / "spool"
    with closing(PusherLock(spool)) as lock:
        with pytest.raises(FileNotFoundError):
            lock.keep()
        spool.mkdir()
        assert lock.keep() is None
        with closing(PusherLock(spool)) as other:
            assert not other.take()


def test_a_lock_that_is_removed_is_made_again(tmp_path: Path) -> None:
    """Told once; and popups meet it, as before."""
    with closing(PusherLock(tmp_path)) as lock:
        assert lock.keep() is None
        (tmp_path / "pusher.lock").unlink()
        lost = lock.keep()
        assert lost
        assert (True, True) == (lost.is_mended, "pusher.lock" in lost.message)
        assert lock.keep() is None
        with closing(PusherLock(tmp_path)) as other:
            assert not other.take()
