"""A sidecar of its own account whose directories may not be searched for a while, and then may, and again."""

import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from observability.event import build
from observability.spoolfile import leave
from tests.support.child import run
from tests.support.descriptors import CHECKOUT
from tests.support.keeper import COMMAND, Keeper
from tests.support.programs import need_root
from tests.support.sidecar import RECORD, fields
from tests.support.waiting import TIMEOUT, until

_OTHER_USER = 64_032


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory that any account may search, with one in it for each thing to close."""
    need_root()  # root may search any directory, so the sidecar has to be somebody else
    with tempfile.TemporaryDirectory(prefix="shared-") as scratch:
        Path(scratch).chmod(0o755)  # pytest's own directories are nobody else's
        for name in ("logs", "textfiles"):
            Path(scratch, name).mkdir()
        yield Path(scratch)


def test_a_log_that_may_not_be_searched(place: Path) -> None:
    """That is an error for as long as it lasts, and what was logged meanwhile counts, each time."""
    log = place / "logs" / "current"
    log.touch()
    with Keeper(place, user=_OTHER_USER).start(f"--read-log={log}") as sidecar:
        for number in (1, 2):
            log.parent.chmod(0o700)
            assert sidecar.reaches(1, "telemetry_logs_unreadable")
            with log.open("ab") as file:
                file.write(RECORD + b"\n")
            log.parent.chmod(0o755)
            assert sidecar.reaches(number, "telemetry_events_total", source="log")
            assert sidecar.reaches(0, "telemetry_logs_unreadable")


def test_a_textfile_that_may_not_be_searched(place: Path) -> None:
    """Each write fails until it may, and then the file is written again, each time."""
    textfile = place / "textfiles" / "metrics" / "q.prom"
    textfile.parent.mkdir()
    os.chown(textfile.parent, _OTHER_USER, _OTHER_USER)
    options = f"--textfile={textfile}", "--push-interval=0.05"
    with Keeper(place, user=_OTHER_USER).start(*options) as sidecar:
        for _ in range(2):
            until(textfile.exists)
            failed = sidecar.value("telemetry_textfile_writes_total", result="failed")
            (place / "textfiles").chmod(0o700)
            until(lambda: sidecar.value("telemetry_textfile_writes_total", result="failed") > failed)  # noqa: B023
            textfile.unlink()
            (place / "textfiles").chmod(0o755)
        until(textfile.exists)


def test_a_state_that_may_not_be_searched(place: Path) -> None:
    """It is told once each time, and ends nothing: the files are open."""
    with Keeper(place / "textfiles", user=_OTHER_USER).start() as sidecar:
        for number in (1, 2):
            os.chown(sidecar.state.parent, 0, 0)
            sidecar.state.parent.chmod(0o700)
            until(lambda: number == sidecar.said.count(f"{sidecar.state}.lock: Permission denied"))  # noqa: B023
            sidecar.state.parent.chmod(0o755)
            os.chown(sidecar.state.parent, _OTHER_USER, _OTHER_USER)
            until(lambda: "store_lock" not in _history(sidecar))
        assert 0 == sidecar.stop()


def test_a_spool_that_may_not_be_searched(place: Path) -> None:
    """It is not lost, and what popups leave there meanwhile counts, each time."""
    spool = place / "logs" / "spool"
    spool.mkdir()
    os.chown(spool, _OTHER_USER, _OTHER_USER)
    spool.chmod(0o2770)
    with Keeper(place, user=_OTHER_USER).start(f"--spool={spool}") as sidecar:
        for number in (1, 2):
            spool.parent.chmod(0o700)
            until(lambda: number == sidecar.said.count(f"{spool}: Permission denied\n"))  # noqa: B023
            run(lambda: leave(os.fsencode(spool), build(fields())))
            spool.parent.chmod(0o755)
            assert sidecar.reaches(number, "telemetry_events_total", source="spool")
        assert 0 == sidecar.value("telemetry_paths_lost_total", path="spool")


@pytest.mark.parametrize(
    ("options", "status"),
    [(["--status"], 3), (["--status", "--warning", "failed_share=0.5"], 3), (["--reset-state"], 1)],
    ids=["status", "plugin", "reset"],
)
def test_a_state_of_somebody_else(place: Path, options: list[str], status: int) -> None:
    """Whoever may not look into its directory is told so in one line, also by the plugin."""
    (place / "logs").chmod(0o700)
    command = [*COMMAND, f"--state={place}/logs/state.sqlite", *options]
    if "--status" in options:
        command.append("--listen=127.0.0.1:9")  # where nobody answers
    ended = subprocess.run(
        command,
        cwd=CHECKOUT,
        user=_OTHER_USER,
        group=_OTHER_USER,
        extra_groups=(),
        capture_output=True,
        check=False,
    )
    assert (status, 1) == (ended.returncode, len((ended.stdout + ended.stderr).splitlines()))


def _history(sidecar: Keeper) -> str:
    """Ask for the page that names current errors."""
    url = sidecar.url.replace("/metrics", "/history")
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310  our own URL
        return str(answer.read())
