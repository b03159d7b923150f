"""A pusher that cannot work: what it leaves for popups, and that they do not try at every login."""

import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from observability.event import build
from observability.store.locks import SIDECAR, StoreLock
from tests.support import forkserver
from tests.support.sidecar import fields, spooled
from tests.support.unattended import Unattended
from tests.support.waiting import until

_NOBODY = "http://127.0.0.1:9"
_INTERVAL = 15


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return a spool with an event in it."""
    directory = tmp_path / "spool"
    directory.mkdir()
    (directory / "spool").write_bytes(spooled(build(fields())))
    return directory


def _once(spool: Path, *options: str) -> subprocess.CompletedProcess[str]:
    defaults = (f"--state={spool.parent / 'state.sqlite'}", f"--push={_NOBODY}", "--push-interval=0.01")
    return forkserver.run("--once", f"--spool={spool}", *defaults, *options)


@pytest.mark.parametrize(
    ("option", "status", "told"),
    [
        ("--state=/nonexistent/state.sqlite", 1, "/nonexistent/state.sqlite"),
        ("--push-credentials=/nonexistent/credentials", 1, "/nonexistent/credentials"),
        ("--push=gopher://host", 2, "--push"),
        ("--instance=a/b", 2, "--instance"),
    ],
)
def test_what_it_lacks_stands_in_the_spool(spool: Path, option: str, status: int, told: str) -> None:
    """One line, which is the one that it writes to descriptor 2; replaced by what is wrong the next time."""
    (spool / "pusher.error").write_text("an older one\n")
    before = os.umask(0)
    done = _once(spool, option)
    os.umask(before)
    assert status == done.returncode
    (line,) = (spool / "pusher.error").read_text().splitlines()
    assert told in line
    assert done.stderr.rstrip().endswith(line.removeprefix("qmail-popup-sidecar: "))
    assert 0o640 == (spool / "pusher.error").stat().st_mode & 0o777
    assert {"pusher.error", "pusher.lock", "spool"} >= {path.name for path in spool.iterdir()}


def test_once_it_has_worked_nothing_stands_there(spool: Path) -> None:
    """A gateway that takes nothing is no fault of the pusher's own: it has counted."""
    (spool / "pusher.error").write_text("an older one\n")
    assert 0 == _once(spool).returncode
    assert not (spool / "pusher.error").exists()


def test_help_is_no_error(spool: Path) -> None:
    """Nor is the version."""
    assert 0 == _once(spool, "--help").returncode
    assert not (spool / "pusher.error").exists()


def test_popups_try_once_in_an_interval(tmp_path: Path, installed: Path) -> None:
    """Fifteen logins start one pusher that cannot work; the interval over, the next login starts one more."""
    with Unattended(tmp_path, installed, "gopher://host") as host:
        error = host.spool / "pusher.error"

        def log_in_until(happened: Callable[[], bool]) -> None:
            def has_happened() -> bool:
                host.sessions(1)  # of which a busy machine may cut one short
                return happened()

            until(has_happened)

        log_in_until(error.exists)
        host.sessions(3)
        assert 1 == len(host.starts())
        before = error.stat().st_mtime - _INTERVAL
        os.utime(error, (before, before))
        log_in_until(lambda: error.stat().st_mtime > before)
        assert 2 == len(host.starts())


def test_a_popup_says_once_in_an_interval_what_the_last_pusher_failed_at(
    tmp_path: Path, installed: Path
) -> None:
    """On descriptor 2, which a server's operator reads, and without what would garble a terminal."""
    with Unattended(tmp_path, installed, "gopher://host") as host:
        error = host.spool / "pusher.error"
        until(lambda: _says(host, b"") and error.exists())
        assert b"" == host.sessions(3)
        error.write_bytes(b"no \x1b[31mroom\nsecond line\n")
        before = error.stat().st_mtime - _INTERVAL
        os.utime(error, (before, before))
        until(lambda: _says(host, b"qmail-popup: metrics are not pushed: no ?[31mroom\n"))
        until(lambda: error.stat().st_mtime > before)
        assert b"" == host.sessions(3)


def test_a_link_in_the_place_of_the_error_is_not_read(tmp_path: Path, installed: Path) -> None:
    """Whoever may write to the spool would read any file by root's popup."""
    (tmp_path / "secret").write_text("a secret\n")
    with Unattended(tmp_path, installed, "gopher://host") as host:
        (host.spool / "pusher.error").symlink_to(tmp_path / "secret")
        os.utime(host.spool / "pusher.error", (0, 0), follow_symlinks=False)
        until(lambda: _says(host, b"") and bool(host.starts()))


def _says(host: Unattended, expected: bytes) -> bool:
    """Whether one login says that; a busy machine may cut it short, and then it says nothing."""
    said = host.sessions(1)
    assert said in (expected, b"")
    return expected == said


def test_a_store_that_somebody_else_holds_is_no_failure(spool: Path) -> None:
    """Its holder may end at any time, and then the next login has to start a pusher."""
    with closing(StoreLock(spool.parent / "state.sqlite", SIDECAR)):
        done = _once(spool)
    assert (1, True) == (done.returncode, "in use by another sidecar" in done.stderr)
    assert not (spool / "pusher.error").exists()
