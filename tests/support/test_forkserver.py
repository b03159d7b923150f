"""The fork server: what it starts differs from a program only in what it costs."""

import os
from collections import Counter
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from tests.support import forkserver
from tests.support.keeper import COMMAND, Keeper
from tests.support.processes import opened
from tests.support.resident import LOGIN, Listener, Started
from tests.support.waiting import TIMEOUT


def _kinds(pid: int) -> Counter[str]:
    """Count the open descriptors of a process by what they are: a device, a kind of socket, a file's name."""
    return Counter(link.partition(":[")[0].rpartition("/")[2] for link in opened(pid).values())


def test_a_forked_sidecar_has_the_descriptors_of_a_started_one(tmp_path: Path) -> None:
    """And nothing of the server or of other sidecars."""
    for name in ("other", "forked", "started"):
        (tmp_path / name).mkdir()
    started = (COMMAND[0], "-u", *COMMAND[1:])
    with (
        Keeper(tmp_path / "other").start(),
        Keeper(tmp_path / "forked").start() as forked,
        Keeper(tmp_path / "started", started).start() as real,
    ):
        assert isinstance(forked.process, forkserver.Process)
        assert not isinstance(real.process, forkserver.Process)
        assert _kinds(real.process.pid) == _kinds(forked.process.pid)


def test_a_forked_listener_has_what_a_started_one_has(tmp_path: Path) -> None:
    """Descriptors, environment and command line, which it passes on to subprograms and at a reload."""
    found = []
    for kind in (Listener, Started):
        directory = tmp_path / kind.__name__
        directory.mkdir()
        program = ("/bin/sh", "-c", f"env | grep -v PORT= | sort >>{directory}/env")
        with kind(directory, "--workers", "1", subprogram=program, env={"TOLD": "it"}) as listener:
            assert isinstance(listener.process, forkserver.Process) == (kind is Listener)
            before = _kinds(listener.process.pid)
            listener.talk(LOGIN)
            listener.reload()
            assert before == _kinds(listener.process.pid)
            listener.talk(LOGIN)
            found.append((before, (directory / "env").read_text()))
    assert found[0] == found[1]


@pytest.mark.parametrize(("number", "status"), [(SIGTERM, 0), (SIGKILL, -9)])
def test_its_status_is_that_of_the_process(tmp_path: Path, number: int, status: int) -> None:
    """Also of one that is killed."""
    with Keeper(tmp_path).start() as keeper:
        assert keeper.process.poll() is None
        os.kill(keeper.process.pid, number)
        assert status == keeper.process.wait(TIMEOUT)
        assert status == keeper.process.poll()


def test_it_has_the_environment_and_the_output_of_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of an earlier one is left."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    ended = forkserver.run("--check-config")
    assert (1, "") == (ended.returncode, ended.stdout)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in ended.stderr
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")
    ended = forkserver.run("--version")
    assert (0, "") == (ended.returncode, ended.stderr)
    assert ended.stdout.startswith("qmail-popup-sidecar ")
