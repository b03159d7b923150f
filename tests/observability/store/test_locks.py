"""Who holds the store, and who is asked for it."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from observability.errors import UnusableError
from observability.store.locks import PUSHER, SIDECAR, claimed
from tests.support.child import Child, run
from tests.support.keeper import await_that
from tests.support.programs import need_root

SOON = 0.3
_OTHER_USER = 64_026


@contextmanager
def _held(state: Path, role: str) -> Iterator[Child[None]]:
    """Have another process hold the store."""

    def hold() -> None:
        with claimed(state, role):
            time.sleep(60)

    with Child(hold) as child:
        await_that(lambda: _note(state) == f"{role} {child.pid}\n")
        yield child


def _note(state: Path) -> str:
    lock = Path(f"{state}.lock")
    return lock.read_text() if lock.exists() else ""


@pytest.mark.parametrize(("holder", "comer"), [(SIDECAR, SIDECAR), (SIDECAR, PUSHER), (PUSHER, PUSHER)])
def test_who_comes_second_is_told_who_was_first(tmp_path: Path, holder: str, comer: str) -> None:
    """Only a sidecar may ask, and only a pusher is asked; all others are told who it is."""
    with (
        _held(tmp_path / "state", holder) as child,
        pytest.raises(UnusableError, match=rf"another {holder} \({child.pid}\)"),
        claimed(tmp_path / "state", comer),
    ):
        pass


def test_a_pusher_is_asked_to_go(tmp_path: Path) -> None:
    """A sidecar has the store as soon as the pusher is gone."""
    state = tmp_path / "state"
    with _held(state, PUSHER) as pusher:
        with claimed(state, SIDECAR):
            assert _note(state).startswith("sidecar ")
            assert 0o100600 == Path(f"{state}.lock").stat().st_mode
        assert -15 == pusher.status()


def test_nobody_else_is_asked(tmp_path: Path) -> None:
    """A note that is out of date, and names a process that is something else now, does that no harm."""
    state = tmp_path / "state"
    with subprocess.Popen(["sleep", "60"]) as innocent, _held(state, SIDECAR):
        Path(f"{state}.lock").write_text(f"pusher {innocent.pid}\n")
        with pytest.raises(UnusableError, match="pusher"), claimed(state, SIDECAR, SOON):
            pass
        assert innocent.poll() is None
        innocent.kill()


@pytest.mark.parametrize(
    "note", ["", "pusher\n", "pusher x\n", "pusher 0\n", "pusher -1\n", "pusher 4194304\n"]
)
def test_a_note_that_names_nobody_asks_nobody(tmp_path: Path, note: str) -> None:
    """Whatever stands in the file, a sidecar ends with one line."""
    state = tmp_path / "state"
    with _held(state, SIDECAR):
        Path(f"{state}.lock").write_text(note)
        with pytest.raises(UnusableError, match="is held by another"), claimed(state, SIDECAR, SOON):
            pass


def test_who_has_not_noted_itself_yet_is_given_a_moment(tmp_path: Path) -> None:
    """What stands there is of somebody who is gone: a pusher that notes itself a moment later is asked."""
    state = tmp_path / "state"
    with _held(state, PUSHER) as pusher:
        note = Path(f"{state}.lock")
        note.write_text("sidecar 4194304\n")
        timer = threading.Timer(SOON / 2, note.write_text, [f"pusher {pusher.pid}\n"])
        timer.start()
        with claimed(state, SIDECAR):
            pass
        timer.join()
        assert -15 == pusher.status()


def test_only_a_pusher_is_asked(tmp_path: Path) -> None:
    """Whatever else a holder calls itself, it is left alone, and nobody waits for it."""
    state = tmp_path / "state"
    with _held(state, SIDECAR) as child:
        Path(f"{state}.lock").write_text(f"keeper {child.pid}\n")
        with pytest.raises(UnusableError, match=rf"another keeper \({child.pid}\)"), claimed(state, SIDECAR):
            pass


def test_a_store_that_cannot_be_locked_is_unusable(tmp_path: Path) -> None:
    """There is one line for that too, and it names the store."""
    state = tmp_path / "missing" / "state"
    with pytest.raises(UnusableError, match=f"cannot lock the store {state}"), claimed(state, SIDECAR):
        pass


def test_a_pusher_of_somebody_else_is_not_asked() -> None:
    """What it has open is not to be seen, so it may be anything; it keeps the store."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="shared-") as scratch:
        Path(scratch).chmod(0o755)  # pytest's own directories are nobody else's
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
        with claimed(state, SIDECAR, SOON):
            return ""
    except UnusableError as error:
        return str(error)
