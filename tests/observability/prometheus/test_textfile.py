"""The textfile: whole, readable, and never over anything but a regular file."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from observability.errors import UnusableError
from observability.event import build
from observability.prometheus.textfile import Textfile
from tests.support.programs import need
from tests.support.sidecar import RunningSidecar, deliver, fields
from tests.support.waiting import TIMEOUT, eventually, until

TEXT = b"answer 42\n"


def test_it_is_written_whole_and_for_others_to_read(tmp_path: Path) -> None:
    """Whatever stood there is replaced, and nothing is left beside it."""
    path = tmp_path / "q.prom"
    path.write_text("old")
    before = os.umask(0o077)
    try:
        Textfile(path, lambda: TEXT).write()
    finally:
        os.umask(before)
    assert (TEXT, 0o644) == (path.read_bytes(), path.stat().st_mode & 0o777)
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_not_a_regular_file_is_left_alone(tmp_path: Path, kind: str) -> None:
    """At the start, and where it comes later: a device would be gone, for everybody."""
    path, victim = tmp_path / "q.prom", tmp_path / "victim"
    textfile = Textfile(path, lambda: TEXT)
    victim.write_text("mine")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = path.lstat()
    with pytest.raises(UnusableError, match=f"^cannot use --textfile {path}: not a regular file"):
        Textfile(path, lambda: TEXT)
    with pytest.raises(OSError, match="not a regular file"):
        textfile.write()
    assert os.path.samestat(before, path.lstat())
    assert "mine" == victim.read_text()


def test_the_textfile_is_always_whole(tmp_path: Path) -> None:
    """Other users can read it, promtool finds nothing to say against it, and no reader sees a half."""
    (promtool,) = need("promtool")
    textfile = tmp_path / "qmail-popup.prom"
    with RunningSidecar(tmp_path, "--push-interval=0.01", f"--textfile={textfile}") as sidecar:
        until(textfile.exists)
        ends = {textfile.read_text().splitlines()[-1].split("{")[0] for _ in range(200)}
        assert {"qmail_popup_build_info"} == ends
        assert 0o644 == textfile.stat().st_mode & 0o777
        assert b"" != deliver(sidecar.socket, build(fields()))
        until(lambda: 'protocol="POP3",result="accepted"} 1.0' in textfile.read_text())
        assert 0 == sidecar.stop()
    subprocess.run([promtool, "check", "metrics"], input=textfile.read_bytes(), check=True, timeout=TIMEOUT)
    assert [] == list(tmp_path.glob("*.new"))


def test_a_textfile_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """The sidecar goes on without it, and with it as soon as it can be written."""
    textfile = tmp_path / "later" / "qmail-popup.prom"
    with RunningSidecar(tmp_path, "--push-interval=0.05", f"--textfile={textfile}") as sidecar:
        assert eventually(lambda: "cannot write the textfile" in sidecar.said)
        time.sleep(2)  # many intervals, and two of the loop's ticks
        assert 1 == sidecar.said.count("cannot write the textfile")
        textfile.parent.mkdir()
        until(textfile.exists)


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
        until(textfile.exists)
    assert ("mine", 0o600) == (victim.read_text(), victim.stat().st_mode & 0o777)
    assert textfile.is_file()
    assert not textfile.is_symlink()


def test_a_directory_that_goes_is_counted_once(tmp_path: Path) -> None:
    """It is written again where the directory comes back; each write counts by how it went."""
    textfile = tmp_path / "metrics" / "q.prom"
    textfile.parent.mkdir()
    with RunningSidecar(tmp_path, "--push-interval=0.05", f"--textfile={textfile}") as sidecar:
        until(textfile.exists)
        textfile.unlink()
        textfile.parent.rename(tmp_path / "elsewhere")
        assert sidecar.reaches(1, "telemetry_paths_lost_total", path="textfile")
        assert sidecar.value("telemetry_textfile_writes_total", result="failed") > 0
        textfile.parent.mkdir()
        until(textfile.exists)
        assert 1 == sidecar.value("telemetry_paths_lost_total", path="textfile")
        assert sidecar.value("telemetry_textfile_writes_total", result="ok") > 0
    assert 1 == sidecar.said.count("cannot write the textfile")
