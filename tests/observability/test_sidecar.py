"""The sidecar as a process: what comes in is counted once, whatever happens to it, and shown."""

import fcntl
import os
import signal
import sqlite3
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from observability.arrivals.spool import MAX_TAKEN
from observability.event import build
from observability.sidecar import TICK_SECONDS
from tests.support.sidecar import (
    ACCEPTED,
    KILLED,
    REJECTED,
    SESSION,
    RunningSidecar,
    connect,
    deliver,
    fields,
    hello_of,
    leave,
    spooled,
)
from tests.support.waiting import TIMEOUT, eventually


def test_a_session_is_counted_before_it_is_acknowledged(sidecar: RunningSidecar) -> None:
    """Whoever got the byte finds the session on /metrics."""
    told = fields()
    assert b"\n" == deliver(sidecar.socket, hello_of(told), build(told))
    assert 1 == sidecar.value("auth_attempts_total", **ACCEPTED)
    assert 1 == sidecar.value("sessions_total", **SESSION)
    assert 1 == sidecar.value("telemetry_events_total", source="socket")
    assert sidecar.value("telemetry_last_event_timestamp_seconds") > 1_700_000_000


def test_what_waits_in_the_spool_is_counted(sidecar: RunningSidecar) -> None:
    """Without anybody connecting, and the file is gone."""
    leave(sidecar, build(fields()), build(fields(REJECTED)))
    assert sidecar.reaches(2, "telemetry_events_total", source="spool")
    assert sidecar.reaches(0, "telemetry_spool_bytes")
    assert eventually(lambda: {"lost", "pusher.lock"} == {path.name for path in sidecar.spool.iterdir()})


def test_a_killed_session_is_counted_at_once(sidecar: RunningSidecar) -> None:
    """And its record, when that comes by the spool after all, without a second session."""
    told = fields()
    with connect(sidecar.socket, hello_of(told)):
        assert sidecar.reaches(1, "sessions_active")
    assert sidecar.reaches(1, "sessions_total", **KILLED)
    assert sidecar.reaches(0, "sessions_active")
    leave(sidecar, build(told))
    assert sidecar.reaches(1, "auth_attempts_total", **ACCEPTED)
    assert 0 == sidecar.value("sessions_total", **SESSION)


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Ten times over: each finds what the last one counted, and no event counts twice."""
    told = [build(fields()) for _ in range(10)]
    for done, block in enumerate(told):
        with RunningSidecar(tmp_path) as sidecar:
            assert done == sidecar.value("sessions_total", **SESSION)
            deliver(sidecar.socket, block)
            deliver(sidecar.socket, *told[:1])
            leave(sidecar, *told[: done + 1])
            sidecar.kill()
    with RunningSidecar(tmp_path) as sidecar:
        assert sidecar.reaches(0, "telemetry_spool_bytes")
        assert 10 == sidecar.value("sessions_total", **SESSION)
        assert 10 == sidecar.value("auth_attempts_total", **ACCEPTED)


def test_a_stopped_sidecar_takes_an_event_once(sidecar: RunningSidecar) -> None:
    """The popup gave up waiting and used the spool; what it had sent is read later anyway."""
    told = fields()
    sidecar.signal(signal.SIGSTOP)
    with connect(sidecar.socket, hello_of(told), build(told)):
        pass
    leave(sidecar, build(told))
    sidecar.signal(signal.SIGCONT)
    assert sidecar.reaches(1, "telemetry_events_total", source="spool")
    assert 1 == sidecar.value("telemetry_events_total", source="socket")
    assert 1 == sidecar.value("telemetry_events_dropped_total", reason="duplicate")
    assert 1 == sidecar.value("sessions_total", **SESSION)
    assert 0 == sidecar.value("sessions_total", **KILLED)


def test_nothing_is_acknowledged_while_the_store_is_locked(sidecar: RunningSidecar) -> None:
    """Nor removed from the spool; /metrics is served all the while, and then everything counts."""
    told = fields()
    with closing(sqlite3.connect(sidecar.state, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with connect(sidecar.socket, build(told)) as popup:
            leave(sidecar, build(fields()))
            assert eventually(lambda: "cannot commit" in sidecar.said)
            assert 0 == sidecar.value("sessions_total", **SESSION)
            popup.settimeout(0.5)
            with pytest.raises(TimeoutError):
                popup.recv(1)
            assert list(sidecar.spool.iterdir())
            other.execute("ROLLBACK")
            popup.settimeout(TIMEOUT)
            assert b"\n" == popup.recv(1)
    assert sidecar.reaches(2, "sessions_total", **SESSION)
    assert sidecar.reaches(0, "telemetry_spool_bytes")


def test_sigterm_commits_and_acknowledges_what_was_sent(tmp_path: Path) -> None:
    """Who has connected by then gets its byte; who only said hello was not killed; the status is 0."""
    told = [fields() for _ in range(700)]  # more than are accepted in one step
    with RunningSidecar(tmp_path) as sidecar, ExitStack() as stack:
        stack.enter_context(connect(sidecar.socket, hello_of(fields())))
        assert sidecar.reaches(1, "sessions_active")
        sidecar.signal(signal.SIGSTOP)
        popups = [stack.enter_context(connect(sidecar.socket, build(one))) for one in told]
        sidecar.signal(signal.SIGTERM)
        sidecar.signal(signal.SIGCONT)
        assert [b"\n"] * 700 == [popup.recv(1) for popup in popups]
        assert 0 == sidecar.process.wait(TIMEOUT)
        assert not sidecar.socket.exists()
    with RunningSidecar(tmp_path) as sidecar:
        assert 700 == sidecar.value("sessions_total", **SESSION)
        assert 0 == sidecar.value("sessions_total", **KILLED)
        assert 0 == sidecar.value("sessions_active")


def test_sigterm_ends_it_though_the_store_takes_nothing(tmp_path: Path) -> None:
    """What could not be committed was not acknowledged, and the status says so."""
    with (
        RunningSidecar(tmp_path) as sidecar,
        closing(sqlite3.connect(sidecar.state, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with connect(sidecar.socket, build(fields())) as popup:
            assert eventually(lambda: "cannot commit" in sidecar.said)
            assert 1 == sidecar.stop()
            assert b"" == popup.recv(1)


def test_a_socket_that_somebody_removes_is_made_anew(sidecar: RunningSidecar) -> None:
    """Who was connected stays connected."""
    told = fields()
    with connect(sidecar.socket, hello_of(told)) as popup:
        assert sidecar.reaches(1, "sessions_active")
        sidecar.socket.unlink()
        assert eventually(sidecar.socket.exists)
        assert b"\n" == deliver(sidecar.socket, build(fields()))
        popup.sendall(build(told))
        assert b"\n" == popup.recv(1)
    assert 2 == sidecar.value("sessions_total", **SESSION)


def test_lost_events_are_counted(sidecar: RunningSidecar) -> None:
    """A byte each, however many came while nobody looked."""
    lost = sidecar.spool / "lost"
    lost.write_bytes(b"...")
    assert sidecar.reaches(3, "telemetry_events_dropped_total", reason="spool_full")
    with lost.open("ab") as file:
        file.write(b".")
    assert sidecar.reaches(4, "telemetry_events_dropped_total", reason="spool_full")


def test_a_spool_that_cannot_be_used_is_said_and_the_socket_served(tmp_path: Path) -> None:
    """A file where the directory was, once in the log, and every event by the socket counts."""
    directory, file, link = tmp_path / "directory", tmp_path / "file", tmp_path / "link"
    directory.mkdir()
    file.write_bytes(b"")
    (tmp_path / "spool").symlink_to(directory)
    link.symlink_to(file)
    with RunningSidecar(tmp_path) as sidecar:
        link.rename(tmp_path / "spool")
        assert eventually(lambda: "cannot drain" in sidecar.said)
        assert b"\n" == deliver(sidecar.socket, build(fields()))
        assert 1 == sidecar.said.count("cannot drain")


def test_what_keeps_a_drain_from_being_complete_is_said(sidecar: RunningSidecar) -> None:
    """Once, and not the writer that is gone a moment later; the name that somebody chose breaks nothing."""
    name = os.fsdecode(b"taken.\xff\nforged")
    (sidecar.spool / name).write_bytes(spooled(build(fields())))
    with (sidecar.spool / name).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert eventually(lambda: "another process is writing to it" in sidecar.said)
        time.sleep(2 * TICK_SECONDS)
        assert 1 == sidecar.said.count("another process is writing to it")
        assert [] == [line for line in sidecar.said.splitlines() if line.startswith("forged")]
    assert sidecar.reaches(1, "sessions_total", **SESSION)


def test_what_cannot_be_drained_does_not_pile_up(sidecar: RunningSidecar) -> None:
    """With a hundred files that are left behind, the next events stay in one."""
    held = [(sidecar.spool / f"taken.{number}").open("xb") for number in range(MAX_TAKEN)]
    for file in held:
        file.write(b"x")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_SH)
    leave(sidecar, build(fields()))
    time.sleep(3 * TICK_SECONDS)
    assert MAX_TAKEN + 1 == len(list(sidecar.spool.glob("taken.*"))) + (sidecar.spool / "spool").exists()
    for file in held:
        file.close()
    assert sidecar.reaches(1, "sessions_total", **SESSION)


def test_a_scraper_never_sees_a_number_go_back(tmp_path: Path) -> None:
    """Over kills and restarts, while events come in from many at once; in the end each of them counts."""
    seen: list[float] = []
    told = [build(fields()) for _ in range(200)]
    for _ in range(4):
        with RunningSidecar(tmp_path) as sidecar:
            senders = [
                threading.Thread(target=_send_all, args=(sidecar.socket, told[n::4])) for n in range(4)
            ]
            for sender in senders:
                sender.start()
            for _ in range(10):
                seen.append(sidecar.value("sessions_total", **SESSION))  # noqa: PERF401  one after the other
            sidecar.kill()
            for sender in senders:
                sender.join(TIMEOUT)
    with RunningSidecar(tmp_path) as sidecar:
        seen.append(sidecar.value("sessions_total", **SESSION))
        _send_all(sidecar.socket, told)
        seen.append(sidecar.value("sessions_total", **SESSION))
    assert sorted(seen) == seen
    assert 200 == seen[-1]


def _send_all(path: Path, blocks: list[bytes]) -> None:
    """Deliver blocks, until the sidecar is killed."""
    for block in blocks:
        try:
            deliver(path, block)
        except OSError:
            return
