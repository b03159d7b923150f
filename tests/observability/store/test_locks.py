"""Who holds the store, and who is asked for it."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from observability.errors import UnusableError
from observability.store.locks import PUSHER, SIDECAR, StoreLock
from tests.support.child import Child, run
from tests.support.programs import need_root
from tests.support.waiting import until

SOON = 0.3
_OTHER_USER = 64_026


@contextmanager
def _held(state: Path, role: str) -> Iterator[Child[None]]:
    """Have another process hold the store."""
    told = state.with_name("told")
    told.unlink(missing_ok=True)

    def hold() -> None:
        with closing(StoreLock(state, role)):
            told.touch()
            time.sleep(60)

    with Child(hold) as child:
        until(told.exists)
        yield child


@pytest.mark.parametrize(("holder", "comer"), [(SIDECAR, SIDECAR), (SIDECAR, PUSHER), (PUSHER, PUSHER)])
def test_who_comes_second_is_told_who_was_first(tmp_path: Path, holder: str, comer: str) -> None:
    """Only a sidecar may ask, and only a pusher is asked; all others are told who it is."""
    with (
        _held(tmp_path / "state", holder) as child,
        pytest.raises(UnusableError, match=rf"another {holder} \({child.pid}\)"),
    ):
        StoreLock(tmp_path / "state", comer)


def test_a_lock_is_free_once_its_holder_closes_it(tmp_path: Path) -> None:
    """Whoever comes next has it, and the file is for its owner alone."""
    state = tmp_path / "state"
    for role in (SIDECAR, PUSHER, SIDECAR):
        StoreLock(state, role).close()
    assert 0o100600 == Path(f"{state}.lock").stat().st_mode


def test_a_pusher_is_asked_to_go(tmp_path: Path) -> None:
    """A sidecar has the store as soon as the pusher is gone."""
    state = tmp_path / "state"
    with _held(state, PUSHER) as pusher:
        StoreLock(state, SIDECAR).close()
        assert -15 == pusher.status()


def test_what_stands_in_the_file_asks_nobody(tmp_path: Path) -> None:
    """The kernel tells who holds it, and whoever may write to the file tells nothing."""
    state = tmp_path / "state"
    with subprocess.Popen(["sleep", "60"]) as innocent, _held(state, SIDECAR) as holder:
        Path(f"{state}.lock").write_text(f"pusher {innocent.pid}\n")
        with pytest.raises(UnusableError, match=rf"another sidecar \({holder.pid}\)"):
            StoreLock(state, SIDECAR, SOON)
        assert innocent.poll() is None
        innocent.kill()


def test_a_store_that_cannot_be_locked_is_unusable(tmp_path: Path) -> None:
    """There is one line for that too, and it names the store."""
    state = tmp_path / "missing" / "state"
    with pytest.raises(UnusableError, match=f"cannot lock the store {state}: .*No such file or directory$"):
        StoreLock(state, SIDECAR)


def test_the_lock_works_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds it is the kernel's to say, and /proc may be missing or hidden."""
    state = tmp_path / "state"
    with _held(state, SIDECAR) as child:
        monkeypatch.setattr(Path, "read_text", None)  # there is no way to take /proc away from ourselves
        with pytest.raises(UnusableError, match=rf"another sidecar \({child.pid}\)"):
            StoreLock(state, PUSHER)


def test_a_pusher_of_somebody_else_is_not_asked() -> None:
    """It is not ours to signal; it keeps the store."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="shared-") as scratch:
        Path(scratch).chmod(0o777)  # pytest's own directories are nobody else's
        state = Path(scratch) / "state"
        with _held(state, PUSHER) as pusher:
            Path(f"{state}.lock").chmod(0o666)
            assert f"another pusher ({pusher.pid})" in run(lambda: _refusal_of(_OTHER_USER, state))


def _refusal_of(user: int, state: Path) -> str:
    """Return what a sidecar of this user is told."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    try:
        StoreLock(state, SIDECAR, SOON).close()
    except UnusableError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_lock_that_is_removed_or_replaced_is_made_again(tmp_path: Path, *, is_replaced: bool) -> None:
    """Told once; and who comes second meets it, as before."""
    state = tmp_path / "state"
    with closing(StoreLock(state, SIDECAR)) as lock:
        assert lock.keep() is None
        Path(f"{state}.lock").unlink()
        if is_replaced:
            Path(f"{state}.lock").touch()
        lost = lock.keep()
        assert lost
        assert (True, True) == (lost.is_mended, "state.lock" in lost.message)
        assert lock.keep() is None
        assert f"another sidecar ({os.getpid()})" in run(lambda: _refusal(state))


def _refusal(state: Path) -> str:
    try:
        StoreLock(state, SIDECAR).close()
    except UnusableError as error:
        return str(error)
    return ""


def test_a_lock_that_somebody_else_has_by_now_ends_it(tmp_path: Path) -> None:
    """Two on one store would both be right, and both be wrong."""
    state = tmp_path / "state"
    with closing(StoreLock(state, SIDECAR)) as lock:
        Path(f"{state}.lock").unlink()
        with _held(state, SIDECAR) as child, pytest.raises(UnusableError, match=rf"\({child.pid}\)"):
            lock.keep()


def test_a_lock_that_cannot_be_looked_at_is_kept(tmp_path: Path) -> None:
    """Its directory may be moved away for a moment; who comes second meets the lock as before."""
    state = tmp_path / "store" / "state"
    state.parent.mkdir()
    with closing(StoreLock(state, SIDECAR)) as lock:
        for _ in range(2):
            state.parent.rename(tmp_path / "elsewhere")
            with pytest.raises(FileNotFoundError):
                lock.keep()
            (tmp_path / "elsewhere").rename(state.parent)
            assert lock.keep() is None
            assert f"another sidecar ({os.getpid()})" in run(lambda: _refusal(state))
