"""What leaves the sidecar at every interval: the push, and the textfile."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from observability.event import build
from observability.pushgateway.thread import PUSH, TEXTFILE, Report, Reports
from observability.store.families import Series
from tests.support.descriptors import PATIENCE
from tests.support.gateway import Pushgateway
from tests.support.keeper import await_that
from tests.support.programs import need
from tests.support.scraper import read
from tests.support.sidecar import RunningSidecar, deliver, eventually, fields
from tests.support.unattended import INSTANCE, attempts, total

OFTEN = "--push-interval=0.2"


def _options(gateway: Pushgateway) -> tuple[str, str]:
    return f"--push={gateway.url}", f"--instance={INSTANCE}"


def test_it_pushes_also_when_nothing_happens(tmp_path: Path) -> None:
    """The gateway's own time of the last push moves on, and each push is counted."""
    with Pushgateway(tmp_path) as gateway, RunningSidecar(tmp_path, OFTEN, *_options(gateway)) as sidecar:
        await_that(lambda: bool(gateway.families(INSTANCE)))
        pushed = _push_time(gateway)
        await_that(lambda: _push_time(gateway) > pushed)
        assert eventually(lambda: sidecar.value("telemetry_pushes_total", result="ok") > 2)
        assert 0 == sidecar.value("telemetry_pushes_total", result="failed")
        assert "qmail_popup_sessions_active" in gateway.families(INSTANCE)


def _push_time(gateway: Pushgateway) -> float:
    return sum(value for (name, _), value in gateway.numbers().items() if name == "push_time_seconds")


def test_it_pushes_once_more_at_the_end(tmp_path: Path) -> None:
    """What came since the last push is pushed before the sidecar ends."""
    with Pushgateway(tmp_path) as gateway, RunningSidecar(tmp_path, *_options(gateway)) as sidecar:
        await_that(lambda: bool(gateway.families(INSTANCE)))
        assert b"" != deliver(sidecar.socket, build(fields()))
        assert 0 == sidecar.stop()
        assert 1 == attempts(gateway)


def test_a_stopped_gateway_stops_nothing_else(tmp_path: Path) -> None:
    """While a push has no answer events are counted and shown, and the sidecar can end."""
    with Pushgateway(tmp_path) as gateway, RunningSidecar(tmp_path, OFTEN, *_options(gateway)) as sidecar:
        await_that(lambda: bool(gateway.families(INSTANCE)))
        gateway.hold()
        time.sleep(0.5)
        for _ in range(3):
            assert b"" != deliver(sidecar.socket, build(fields()))
        assert 3 == total(read(sidecar.url), "auth_attempts_total")
        assert 0 == sidecar.stop()


def test_a_gateway_that_is_down_is_told_once_and_counted(tmp_path: Path) -> None:
    """Each failure counts, the reason is said once, and the first push afterwards has everything."""
    gateway = Pushgateway(tmp_path)
    with gateway:
        pass
    with RunningSidecar(tmp_path, OFTEN, *_options(gateway)) as sidecar:
        assert b"" != deliver(sidecar.socket, build(fields()))
        assert eventually(lambda: sidecar.value("telemetry_pushes_total", result="failed") > 2)
        assert 1 == sidecar.said.count(f"cannot reach {gateway.url}")
        with gateway:
            await_that(lambda: attempts(gateway) == 1)


def test_the_textfile_is_always_whole(tmp_path: Path) -> None:
    """Other users can read it, promtool finds nothing to say against it, and no reader sees a half."""
    (promtool,) = need("promtool")
    textfile = tmp_path / "qmail-popup.prom"
    with RunningSidecar(tmp_path, "--push-interval=0.01", f"--textfile={textfile}") as sidecar:
        await_that(textfile.exists)
        ends = {textfile.read_text().splitlines()[-1].split("{")[0] for _ in range(200)}
        assert {"qmail_popup_build_info"} == ends
        assert 0o644 == textfile.stat().st_mode & 0o777
        assert b"" != deliver(sidecar.socket, build(fields()))
        await_that(lambda: 'protocol="POP3",result="accepted"} 1.0' in textfile.read_text())
        assert 0 == sidecar.stop()
    subprocess.run([promtool, "check", "metrics"], input=textfile.read_bytes(), check=True, timeout=PATIENCE)
    assert [] == list(tmp_path.glob("*.new"))


def test_a_textfile_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """The sidecar goes on without it, and with it as soon as it can be written."""
    textfile = tmp_path / "later" / "qmail-popup.prom"
    with RunningSidecar(tmp_path, "--push-interval=0.05", f"--textfile={textfile}") as sidecar:
        assert eventually(lambda: "cannot write the textfile" in sidecar.said)
        time.sleep(2)  # many intervals, and two of the loop's ticks
        assert 1 == sidecar.said.count("cannot write the textfile")
        textfile.parent.mkdir()
        await_that(textfile.exists)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_lies_beside_the_textfile_is_replaced_and_not_written_to(tmp_path: Path, kind: str) -> None:
    """The directory may be others' too: a link leads nowhere, and a pipe holds nobody up."""
    textfile, aside, victim = (tmp_path / name for name in ("q.prom", "q.prom.new", "victim"))
    victim.write_text("mine")
    victim.chmod(0o600)
    if kind == "link":
        aside.symlink_to(victim)
    else:
        os.mkfifo(aside)
    with RunningSidecar(tmp_path, f"--textfile={textfile}"):
        await_that(textfile.exists)
    assert ("mine", 0o600) == (victim.read_text(), victim.stat().st_mode & 0o777)
    assert textfile.is_file()
    assert not textfile.is_symlink()


def test_what_the_store_cannot_take_now_is_counted_later() -> None:
    """A report waits until the store has counted it, and is told once."""
    counted: list[Mapping[Series, float]] = []
    said: list[str] = []

    def refuse(_increments: Mapping[Series, float]) -> None:
        raise sqlite3.OperationalError

    stores = [counted.append, refuse]

    def count(increments: Mapping[Series, float]) -> None:
        stores[-1](increments)

    reports = Reports(count, lambda _, text: said.append(text))
    for report in (Report(PUSH, "why"), Report(PUSH, "why"), Report(PUSH, ""), Report(TEXTFILE, "how")):
        reports.put(report)
    reports.take()
    assert ([], []) == (counted, said)
    stores.pop()
    reports.take()
    reports.take()
    assert [{("telemetry_pushes", "ok"): 1, ("telemetry_pushes", "failed"): 2}] == counted
    assert ["why", "how"] == said
