"""A sidecar that counts from a log: the records in it, once each, whatever is killed and rotated."""

import json
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from observability.event import build
from tests.support.descriptors import CHECKOUT
from tests.support.keeper import COMMAND
from tests.support.programs import need
from tests.support.sidecar import RunningSidecar, fields, spooled
from tests.support.waiting import eventually, until

REJECTED = {"result": "rejected", "method": "User", "protocol": "POP3"}
ACCEPTED = {"result": "accepted", "method": "User", "protocol": "POP3"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return the directory of a log, which multilog makes."""
    return tmp_path / "log"


@contextmanager
def multilog(log: Path, *script: str) -> Iterator[IO[bytes]]:
    """Run the real one on a directory, until what is written to it ends."""
    with subprocess.Popen([*need("multilog"), "t", *script, log], stdin=subprocess.PIPE) as process:
        assert process.stdin
        yield process.stdin
        process.stdin.close()
        assert 0 == process.wait()


def reading(directory: Path, log: Path, *options: str) -> RunningSidecar:
    """Start a sidecar that reads a log."""
    directory.mkdir(exist_ok=True)
    return RunningSidecar(directory, f"--read-log={log}", *options)


def record(verdict: str = "Reject", name: str = "bob", pid: int = 7) -> bytes:
    """Return the line of a record."""
    line = f"qmail-popup: pid {pid} {verdict}::AUTH::User P:POP3 S:192.0.2.1:unknown ?~ '{name}'\n"
    return line.encode()


def write(stream: IO[bytes], *lines: bytes) -> None:
    """Have lines logged now."""
    stream.writelines(lines)
    stream.flush()


def test_records_are_attempts(tmp_path: Path, log: Path) -> None:
    """Each counts by its own words, and a refusal by its reason."""
    with multilog(log) as stream, reading(tmp_path, log) as sidecar:
        write(stream, record(), record("Accept"), record(), b"something else\n")
        assert sidecar.reaches(2, "auth_attempts_total", **REJECTED)
        assert sidecar.reaches(1, "auth_attempts_total", **ACCEPTED)
        assert 3 == sidecar.value("telemetry_events_total", source="log")
        labels = {"method": "User", "protocol": "POP3"}
        assert 2 == sidecar.value("auth_failures_total", reason="credentials", **labels)
        assert 0 == sidecar.value("telemetry_logs_unreadable")


def test_sessions_of_tcpserver(tmp_path: Path, log: Path) -> None:
    """With tcpserver's own lines in it the log tells of sessions, too."""
    with multilog(log) as stream, reading(tmp_path, log, "--json-log") as sidecar:
        write(stream, b"tcpserver: pid 7 from 192.0.2.1\n", b"tcpserver: pid 8 from 192.0.2.1\n")
        assert sidecar.reaches(2, "sessions_active")
        write(stream, record(), b"tcpserver: end 7 status 256\n", b"tcpserver: end 8 status 0\n")
        assert sidecar.reaches(0, "sessions_active")
        for ended in ("rejected", "other"):
            assert 1 == sidecar.value("sessions_total", ended=ended, protocol="POP3")
            assert 1 == sidecar.value("session_duration_seconds_count", ended=ended, protocol="POP3")
        until(lambda: sidecar.log.read_text().endswith("\n"))
        (line,) = [json.loads(line) for line in sidecar.log.read_text().splitlines()]
        told = (line["result"], line["method"], line["client.address"])
        assert ("rejected", "User", "192.0.2.1") == told


def test_nothing_is_kept_in_the_clear(tmp_path: Path, log: Path) -> None:
    """The state holds where the reading is to go on, and no name and no address."""
    with multilog(log) as stream, reading(tmp_path, log) as sidecar:
        write(stream, b"tcpserver: pid 7 from 192.0.2.1\n", record(name="secretname"))
        assert sidecar.reaches(1, "auth_attempts_total", **REJECTED)
        assert 0 == sidecar.stop()
        kept = b"".join(path.read_bytes() for path in tmp_path.glob("state.sqlite*"))
        assert (0, 0) == (kept.count(b"secretname"), kept.count(b"192.0.2.1"))


def test_kills_and_rotations_at_random_moments(tmp_path: Path, log: Path) -> None:
    """Of two thousand records in files of four kilobytes each is counted once, without a gap."""
    chance = random.Random(3)  # noqa: S311  which moment it is protects nothing
    sidecar = reading(tmp_path, log)
    with multilog(log, "s4096", "n1000") as stream:
        for number in range(2000):
            write(stream, record(name=f"n{number}"))
            if chance.random() < 0.004:
                sidecar.kill()
                if chance.random() < 0.5:
                    sidecar = reading(tmp_path, log)
            if sidecar.process.poll() is not None and chance.random() < 0.01:
                sidecar = reading(tmp_path, log)
    sidecar.kill()
    with reading(tmp_path, log) as last:
        assert last.reaches(2000, "auth_attempts_total", **REJECTED)
        assert 0 == last.value("telemetry_log_gaps_total")
        assert 30 < len([*log.glob("@*")])


def test_it_begins_at_the_end(tmp_path: Path, log: Path) -> None:
    """What was there before is not counted; with --read-log-from start it is."""
    with multilog(log) as stream:
        write(stream, record(), record())
    with reading(tmp_path / "end", log) as sidecar, multilog(log) as stream:
        write(stream, record())
        assert sidecar.reaches(1, "auth_attempts_total", **REJECTED)
    with reading(tmp_path / "start", log, "--read-log-from=start") as sidecar:
        assert sidecar.reaches(3, "auth_attempts_total", **REJECTED)


def test_a_line_after_its_first_message_counts(tmp_path: Path, log: Path) -> None:
    """Also where it is killed right behind that: where to begin was noted before it said that it serves."""
    with multilog(log) as stream:
        write(stream, record())
    reader, writer = os.pipe()
    command = [*COMMAND, f"--read-log={log}", f"--state={tmp_path / 'state.sqlite'}", "--listen=127.0.0.1:0"]
    places = [f"--socket={tmp_path / 'run/sidecar.sock'}", f"--spool={tmp_path / 'spool'}"]
    with subprocess.Popen([*command, *places], cwd=CHECKOUT, stderr=writer) as first:
        assert os.read(reader, 65536)
        first.kill()
    os.close(reader)
    os.close(writer)
    with multilog(log) as stream:
        write(stream, record())
    with reading(tmp_path, log) as sidecar:
        assert sidecar.reaches(1, "auth_attempts_total", **REJECTED)


def test_a_log_that_cannot_be_read(tmp_path: Path, log: Path) -> None:
    """It is one line and a number, and is tried again."""
    with multilog(log) as stream, reading(tmp_path, log) as sidecar:
        moved = log.rename(tmp_path / "elsewhere")
        log.symlink_to("log")
        assert sidecar.reaches(1, "telemetry_logs_unreadable")
        assert eventually(lambda: f"cannot read the log {log}: neither a" in sidecar.said)
        for number in (1, 2, 3):  # the spool is looked at once in a tick
            (sidecar.spool / "spool").write_bytes(spooled(build(fields())))
            assert sidecar.reaches(number, "telemetry_events_total", source="spool")
        assert 1 == sidecar.said.count("cannot read the log")
        log.unlink()
        moved.rename(log)
        write(stream, record())
        assert sidecar.reaches(1, "auth_attempts_total", **REJECTED)
        assert sidecar.reaches(0, "telemetry_logs_unreadable")


def test_a_log_that_is_missing(tmp_path: Path, log: Path) -> None:
    """It is told, for its name may be a mistake; what comes there later counts from its start."""
    with reading(tmp_path, log) as sidecar:
        assert sidecar.reaches(1, "telemetry_logs_unreadable")
        assert eventually(lambda: f"cannot read the log {log}: No such file" in sidecar.said)
        with multilog(log) as stream:
            write(stream, record())
        assert sidecar.reaches(1, "auth_attempts_total", **REJECTED)
        assert sidecar.reaches(0, "telemetry_logs_unreadable")


def test_a_gap_is_told(tmp_path: Path, log: Path) -> None:
    """Where the place is lost while the sidecar is down, that is one line and a number."""
    with multilog(log) as stream, reading(tmp_path, log) as sidecar:
        write(stream, record())
        assert sidecar.reaches(1, "auth_attempts_total", **REJECTED)
        sidecar.kill()
    (log / "current").unlink()
    with multilog(log) as stream:
        write(stream, record())
    with reading(tmp_path, log) as sidecar:
        assert sidecar.reaches(2, "auth_attempts_total", **REJECTED)
        assert 1 == sidecar.value("telemetry_log_gaps_total")
        assert eventually(lambda: "may have been missed" in sidecar.said)
