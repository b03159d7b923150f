"""The sidecar under hostile clients, many clients, and readers of its log who do not read."""

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from observability.event import build
from tests.support.programs import unavailable
from tests.support.sidecar import (
    KILLED,
    REJECTED,
    SESSION,
    RunningSidecar,
    command,
    connect,
    deliver,
    fields,
    leave,
)
from tests.support.waiting import TIMEOUT, eventually


def test_hostile_clients_keep_nobody_from_being_served(sidecar: RunningSidecar) -> None:
    """Endless, torn, silent, slow and by the hundred; honest ones are counted, all of them."""
    hostile = [b"x" * 5000, b"V=1\0", b"\0\0\0\0", build(fields())[:-3], b"", os.urandom(3000) + b"\0\0"]
    with ExitStack() as stack:
        for number in range(300):
            peer = stack.enter_context(connect(sidecar.socket))
            peer.settimeout(0.01)
            with suppress(OSError):  # who is sent away early has not sent it all
                peer.sendall(hostile[number % len(hostile)])
            if number % 10 == 0:
                assert b"\n" == deliver(sidecar.socket, build(fields()))
        assert 30 == sidecar.value("sessions_total", **SESSION)
        assert 0 == sidecar.value("sessions_total", **KILLED)
    assert sidecar.reaches(250, "telemetry_events_dropped_total", reason="malformed")
    assert eventually(lambda: "malformed" in sidecar.said)


def test_an_endless_sender_is_sent_away(sidecar: RunningSidecar) -> None:
    """What has no end is too long after its first bytes."""
    with connect(sidecar.socket) as endless, pytest.raises(OSError, match=r"Broken pipe|reset"):
        endless.sendall(b"x" * 100_000_000)
    assert b"\n" == deliver(sidecar.socket, build(fields()))


def test_the_backlog_holds_4096_while_the_sidecar_is_stopped(sidecar: RunningSidecar) -> None:
    """Popups connect, send and leave without waiting; each is counted once it goes on."""
    sidecar.signal(signal.SIGSTOP)
    told = [fields() for _ in range(4096)]
    for one in told:
        with connect(sidecar.socket, build(one)):
            pass
    sidecar.signal(signal.SIGCONT)
    assert sidecar.reaches(4096, "sessions_total", **SESSION)


def test_ten_thousand_sessions_are_active_at_once(sidecar: RunningSidecar) -> None:
    """Their popups are a process of their own, for one has only so many descriptors; then all are killed."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 10_200:
        unavailable("a process may have too few descriptors")
    popups = subprocess.Popen(
        [sys.executable, "-c", _MANY, str(sidecar.socket)],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )
    with popups:
        assert sidecar.reaches(10_000, "sessions_active")
        assert b"\n" == deliver(sidecar.socket, build(fields()))
        popups.kill()
    assert sidecar.reaches(10_000, "sessions_total", **KILLED)
    assert 0 == sidecar.value("sessions_active")


_MANY = """
import resource, sys
from pathlib import Path
from tests.support.sidecar import connect, fields, hello_of
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
popups = [connect(Path(sys.argv[1]), hello_of(fields())) for _ in range(10_000)]
sys.stdin.read()
"""


def test_the_json_log_has_a_line_for_each_session(tmp_path: Path) -> None:
    """On stdout, once, with a hash of the user's name; messages are JSON too."""
    told = fields(REJECTED)
    with RunningSidecar(tmp_path, "--json-log") as sidecar:
        deliver(sidecar.socket, build(told))
        deliver(sidecar.socket, build(told))
        assert 0 == sidecar.stop()
        (line,) = sidecar.log.read_text().splitlines()
        logged = json.loads(line)
        assert told[b"TRACE"].decode() == logged["trace_id"]
        assert ("rejected", "192.0.2.7") == (logged["result"], logged["client.address"])
        assert 64 == len(logged["user.hash"])
        assert "bob" not in line
        assert all(json.loads(message)["level"] == "info" for message in sidecar.said.splitlines())
    assert 0o600 == (tmp_path / "state.sqlite.key").stat().st_mode & 0o777


def test_a_log_that_nobody_reads_holds_no_session_up(tmp_path: Path) -> None:
    """Acknowledgements come though stdout is a pipe that is full."""
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb") as stdout:
        process = subprocess.Popen(
            [*command(tmp_path), "--json-log"], cwd=Path(__file__).resolve().parents[2], stdout=stdout
        )
        with process:
            path = tmp_path / "run" / "sidecar.sock"
            assert eventually(path.exists)
            for _ in range(1000):
                assert b"\n" == deliver(path, build(fields()))
            process.terminate()
            assert 0 == process.wait(TIMEOUT)


def test_nothing_that_a_popup_said_is_left_in_the_clear(tmp_path: Path) -> None:
    """With the defaults a user's name is in no file once it is counted."""
    with RunningSidecar(tmp_path, "--json-log") as sidecar:
        deliver(sidecar.socket, build(fields({"RECORD": _SECRET})))
        leave(sidecar, build(fields({"RECORD": _SECRET})))
        assert sidecar.reaches(2, "sessions_total", **SESSION)
        sidecar.stop()
    held = [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert [] == held


_SECRET = b"qmail-popup: pid 77 Accept::AUTH::User P:POP3 S:192.0.2.7:unknown ?~ 'hunter2'"
