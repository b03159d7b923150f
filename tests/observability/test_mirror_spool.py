"""The mirror in a real popup with no sidecar: what it leaves in the spool, and what it does not touch."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from observability.event import SEPARATOR, build
from observability.spoolfile import leave
from tests.support.child import run
from tests.support.keeper import Keeper
from tests.support.listener import left_in, unpacked
from tests.support.programs import need_root
from tests.support.scraper import counts
from tests.support.spooling import lost, refused_session

_OTHER_USER = 64_024
_SECRET = b"correct-horse-4711-battery-staple"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return a spool directory."""
    made = tmp_path / "spool"
    made.mkdir()
    return made


def test_each_event_has_a_separator_before_it(popup: list[str], spool: Path) -> None:
    """So a torn one spoils no other; nothing else is made, and nothing is lost."""
    for _ in range(3):
        refused_session(popup, spool)
    data = (spool / "spool").read_bytes()
    events = data.removeprefix(SEPARATOR).removesuffix(SEPARATOR).split(2 * SEPARATOR)
    assert 3 == len({unpacked(event)[b"TRACE"] for event in events})
    assert ["spool"] == os.listdir(spool)


def _be_strict() -> None:
    os.umask(0o077)


def test_the_file_is_for_the_group_whatever_the_umask(popup: list[str], spool: Path) -> None:
    """Its mode is 0660, and its group the directory's."""
    spool.chmod(0o2770)
    refused_session(popup, spool, prepare=_be_strict)
    assert 0o100660 == (spool / "spool").stat().st_mode


@pytest.mark.parametrize("users", [(0, _OTHER_USER), (_OTHER_USER, 0)], ids=["root first", "root last"])
def test_root_and_another_user_write_to_one_file(users: tuple[int, int]) -> None:
    """Whoever comes first, the other may append, for the file belongs to the group of both."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="shared-") as scratch:
        Path(scratch).chmod(0o755)  # pytest's own directories are nobody else's
        spool = Path(scratch, "spool")
        spool.mkdir()
        os.chown(spool, 0, _OTHER_USER)
        spool.chmod(0o2770)
        for user in users:
            run(lambda: _leave_as(user, spool))  # noqa: B023 - it runs within this turn
        assert [b"0", b"1"] == [event[b"PID"] for event in left_in(spool)]
        status = (spool / "spool").stat()
        assert (users[0], _OTHER_USER, 0o100660) == (status.st_uid, status.st_gid, status.st_mode)


def _leave_as(user: int, spool: Path) -> None:
    """Leave an event, numbered, as a popup would that runs as this user and in the shared group."""
    os.umask(0o077)
    os.setgroups([_OTHER_USER])
    os.setgid(user)
    os.setuid(user)
    leave(os.fsencode(spool), build({b"PID": b"%d" % len(left_in(spool))}))


def _symlink(path: Path, target: Path) -> None:
    path.symlink_to(target)


def _hardlink(path: Path, target: Path) -> None:
    path.hardlink_to(target)


def _fifo(path: Path, _target: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path, _target: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [_symlink, _hardlink, _fifo, _directory])
def test_nothing_but_a_file_of_its_own_is_written_to(
    popup: list[str], spool: Path, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    """A link leads nowhere, a FIFO holds nobody up; the event is lost, and counts if `lost` is a file."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    make(spool / "spool", target)
    refused_session(popup, spool)
    assert (1, b"precious") == (lost(spool), target.read_bytes())
    (spool / "lost").unlink()
    make(spool / "lost", target)
    refused_session(popup, spool)
    assert b"precious" == target.read_bytes()


def test_a_fifo_that_is_read_is_not_written_to(popup: list[str], spool: Path) -> None:
    """Who waits at the other end gets nothing."""
    os.mkfifo(spool / "spool")
    reader = os.open(spool / "spool", os.O_RDONLY | os.O_NONBLOCK)
    refused_session(popup, spool)
    assert (b"", 1) == (os.read(reader, 1), lost(spool))
    os.close(reader)


def test_secrets_are_in_nothing_that_is_kept(popup: list[str], tmp_path: Path) -> None:
    """PASS and APOP: neither in the spool nor in any file of the sidecar, nor in what it says and shows."""
    spool = tmp_path / "spool"
    spool.mkdir()
    apop = {"POP3AUTH": "apop"}
    refused_session(popup, spool, says=b"USER bob\r\nPASS " + _SECRET + b"\r\n")
    refused_session(popup, spool, says=b"APOP bob " + _SECRET + b"\r\n", env=apop)
    assert 2 == len(left_in(spool))
    assert _SECRET not in (spool / "spool").read_bytes()
    with Keeper(tmp_path) as keeper:
        shown = keeper.start("--json-log", "--user-names=plain").drained()
        assert 2 == counts(shown, "auth_attempts_total").total()
        kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(_SECRET in what for what in (*kept, str(shown).encode()))
