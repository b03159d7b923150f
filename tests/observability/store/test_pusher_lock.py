"""Whose turn it is to empty a spool."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from observability.store.pusher_lock import Turn
from tests.support.child import run


def test_one_has_the_turn(tmp_path: Path) -> None:
    """Who has it keeps it until it is given up, or its holder is gone."""
    with closing(Turn(tmp_path)) as second:
        with closing(Turn(tmp_path)) as first:
            assert first.taken()
            assert first.taken()
            assert not second.taken()
            first.give_up()
            assert second.taken()
            second.give_up()
            assert first.taken()
        assert second.taken()


def test_it_is_there_for_popups_of_other_users(tmp_path: Path) -> None:
    """Whatever the umask, the group may lock the file."""
    before = os.umask(0o077)
    with closing(Turn(tmp_path)) as turn:
        assert turn.taken()
    os.umask(before)
    assert 0o660 == (tmp_path / "pusher.lock").stat().st_mode & 0o777


def test_a_turn_is_handed_over_as_descriptor_0(tmp_path: Path) -> None:
    """Who is started with the locked file has the turn, and can give it up for good."""

    def is_ours() -> tuple[bool, bool]:
        with closing(Turn(tmp_path)) as turn:
            ours = turn.taken()
            turn.give_up()
        return ours, Turn(tmp_path).taken()

    with closing(Turn(tmp_path)) as turn:
        assert turn.taken()
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
    with closing(Turn(tmp_path)) as turn, pytest.raises(OSError, match="symbolic"):
        turn.taken()
    assert not (tmp_path / "elsewhere").exists()


def test_a_sidecar_goes_on_without(tmp_path: Path) -> None:
    """Where there is no spool there is no turn to keep, until there is one."""
    spool = tmp_path / "spool"
    with closing(Turn(spool)) as turn:
        turn.keep()
        spool.mkdir()
        turn.keep()
        with closing(Turn(spool)) as other:
            assert not other.taken()
