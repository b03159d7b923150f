"""A file system that hangs: nothing that is on it holds a client, a log or a slot."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from signal import SIGALRM

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.listener import Listener, left_in
from tests.support.mounts import hanging
from tests.support.popup import LOGIN, REFUSES, Popup

_UNANSWERED = "http://127.0.0.1:9"


@pytest.fixture
def hung(tmp_path: Path) -> Path:
    """Return a directory on that file system, for those who enter."""
    made = tmp_path / "hung"
    made.mkdir()
    return made


@pytest.fixture
def enter(hung: Path) -> Iterator[tuple[str, ...]]:
    """Return what enters."""
    with hanging(hung) as command:
        yield command


def _ends(command: Sequence[str], told: Mapping[str, str], status: int = -SIGALRM) -> None:
    """Have one session whose client has its reply and whose log has its record, and which ends."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), **told}
    with Popup(command, REFUSES, env=env) as popup:
        assert popup.talk(LOGIN).endswith(b"-ERR authorization failed\r\n")
        assert (status, [popup.record("Reject")]) == (popup.status(), popup.records())


def test_a_spool_that_hangs_ends_the_popup(popup: list[str], hung: Path, enter: tuple[str, ...]) -> None:
    """Whether or not SIGALRM is the popup's own: the log, too, has a use for it."""
    _ends([*enter, *popup], {"QMAIL_POPUP_SPOOL": str(hung)})


def test_a_spool_that_hangs_behind_a_sidecar_that_is_silent(
    popup: list[str], hung: Path, enter: tuple[str, ...], tmp_path: Path
) -> None:
    """The alarm is off while an answer is waited for, and on again behind that."""
    with Listener(tmp_path / "socket"):
        told = {"QMAIL_POPUP_SIDECAR": str(tmp_path / "socket"), "QMAIL_POPUP_SPOOL": str(hung)}
        _ends([*enter, *popup], told)


def test_a_pusher_that_cannot_be_started_for_it(
    installed: Path, hung: Path, enter: tuple[str, ...], tmp_path: Path
) -> None:
    """Its program is on that file system: events are in the spool, popups end, and one has tried."""
    for name in ("bin", "spool"):
        (tmp_path / name).mkdir()
    (tmp_path / "lib").symlink_to(installed / "lib")
    (tmp_path / "bin/qmail-popup-sidecar").symlink_to(hung / "program")
    popup = shutil.copy(installed / "bin/qmail-popup", tmp_path / "bin")
    told = {"QMAIL_POPUP_PUSHGATEWAY": _UNANSWERED, "QMAIL_POPUP_SPOOL": str(tmp_path / "spool")}
    for events in (1, 2):
        _ends([*enter, str(popup)], told, status=1)
        assert events == len(left_in(tmp_path / "spool"))
    with (tmp_path / "spool/pusher.lock").open("wb") as lock, pytest.raises(BlockingIOError):
        flock(lock, LOCK_EX | LOCK_NB)
