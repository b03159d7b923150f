"""Exactly once: sessions and records of a listener, as a real sidecar counts them, whoever is killed."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.listener import Block
from tests.support.listener import Listener as SidecarSocket
from tests.support.resident import HOST, LOGIN, Listener, kill, read_all, read_line
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import until

_ACCEPTED = {"result": "accepted", "method": "User", "protocol": "POP3"}
_HANGING = ("/bin/sh", "-c", "echo begun; read line; echo $line")


def environment(directory: Path) -> dict[str, str]:
    """Return what tells a listener of the sidecar in a directory."""
    return {
        "QMAIL_POPUP_SIDECAR": str(directory / "run/sidecar.sock"),
        "QMAIL_POPUP_SPOOL": str(directory / "spool"),
    }


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[RunningSidecar]:
    """Return a sidecar that runs."""
    with RunningSidecar(tmp_path) as running:
        yield running


def kill_workers(listener: Listener, client: threading.Thread) -> None:
    """Kill one after the other, with a client at work in between."""
    for pid in listener.workers():
        os.kill(pid, signal.SIGKILL)
        client.join(0.2)


def attempts(sidecar: RunningSidecar) -> float:
    """Return the sum of all attempts that it has counted."""
    return sum(
        value for (name, _), value in sidecar.numbers().items() if name == "qmail_popup_auth_attempts_total"
    )


def sessions(sidecar: RunningSidecar) -> dict[str, float]:
    """Return its sessions by how they ended, those that there were."""
    name = "qmail_popup_sessions_total"
    found: dict[str, float] = {}
    for (sample, labels), value in sidecar.numbers().items():
        if sample == name and value:
            ended = dict(labels)["ended"]
            found[ended] = found.get(ended, 0) + value
    return found


def test_each_end_counts_once(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """Whatever comes of a session, it is counted by its word, and a login by its record."""
    options = ("--workers", "2", "--connections-per-client", "2")
    with Listener(tmp_path, *options, env=environment(tmp_path)) as listener:
        listener.talk(LOGIN)
        listener.talk(b"QUIT\r\n")
        listener.talk(b"USER bob\r\n")
        with listener.connect("127.0.0.2") as one, listener.connect("127.0.0.2") as two:
            read_line(one)
            read_line(two)
            assert sidecar.reaches(2, "sessions_active")
            with listener.connect("127.0.0.2") as newcomer:
                assert b"" == read_all(newcomer)
        expected = {"accepted": 1, "quit": 1, "disconnected": 3, "refused": 1}
        until(lambda: expected == sessions(sidecar))
        assert 1 == sidecar.value("auth_attempts_total", **_ACCEPTED)
        assert sidecar.reaches(0, "sessions_active")


def test_the_trace(tmp_path: Path) -> None:
    """The subprogram is told the span that the event has, and an inherited one is not its parent."""
    program = ["/bin/sh", "-c", "echo $TRACEPARENT"]
    (tmp_path / "run").mkdir()
    env = {**environment(tmp_path), "TRACEPARENT": "00-forged"}
    with (
        SidecarSocket(tmp_path / "run/sidecar.sock") as socket_of_sidecar,
        Listener(tmp_path, subprogram=program, env=env) as listener,
    ):
        said = listener.talk(LOGIN)
        hello, event = _blocks(socket_of_sidecar)
        version, trace, span, flags = said.splitlines()[-1].split(b"-")
        assert (b"00", event[b"TRACE"], event[b"SPAN"], b"01") == (version, trace, span, flags)
        assert (trace, False) == (hello[b"TRACE"], b"PID" in hello)
        assert int(event[b"PID"]) < 4_194_305
        times = [int(event[name]) for name in TIMES]
        assert times == sorted(times)
        assert [event[b"RECORD"].decode()] == listener.records()


TIMES = (b"T_START", b"T_GREETED", b"T_CREDENTIALS", b"T_SPAWNED", b"T_EXITED", b"T_ENDED")


def _blocks(socket_of_sidecar: SidecarSocket) -> tuple[Block, Block]:
    """Take hello and event of one session, and acknowledge."""
    caller = socket_of_sidecar.accept()
    hello, event = caller.block(), caller.block()
    caller.acknowledge()
    caller.close()
    assert hello
    assert event
    return hello, event


def test_a_worker_that_is_killed(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """Its connections before a login are killed, a login that it has handed over is not."""
    with (
        Listener(tmp_path, "--workers", "1", subprogram=_HANGING, env=environment(tmp_path)) as listener,
        listener.connect() as logged_in,
        listener.connect() as idle,
    ):
        read_line(idle)
        logged_in.sendall(LOGIN)
        while read_line(logged_in) != b"begun\n":
            pass
        os.kill(listener.workers()[0], signal.SIGKILL)
        assert b"" == read_all(idle)
        until(lambda: {"killed": 1} == sessions(sidecar))
        logged_in.sendall(b"\n")
        read_all(logged_in)
        until(lambda: {"killed": 1, "accepted": 1} == sessions(sidecar))
        assert 1 == sidecar.value("auth_attempts_total", **_ACCEPTED)


def test_a_spawner_that_is_killed(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """All sessions that it had are killed; one that logs in at the next adds its record and no session."""
    with (
        Listener(tmp_path, "--workers", "1", subprogram=_HANGING, env=environment(tmp_path)) as listener,
        listener.connect() as lost,
        listener.connect() as late,
    ):
        read_line(late)
        lost.sendall(LOGIN)
        while read_line(lost) != b"begun\n":
            pass
        spawner = listener.spawner()
        os.kill(spawner, signal.SIGKILL)
        until(lambda: {"killed": 2} == sessions(sidecar))
        until(lambda: listener.spawners() not in ([], [spawner]))
        lost.sendall(b"\n")
        late.sendall(LOGIN + b"\n")
        read_all(late)
        assert 1 == len(listener.wait_for_records(1))
        assert sidecar.reaches(1, "auth_attempts_total", **_ACCEPTED)
        assert {"killed": 2} == sessions(sidecar)


def test_a_sidecar_that_is_away(tmp_path: Path) -> None:
    """Its events wait in the spool, in files that the sidecar's group may read, and count when it is back."""
    (tmp_path / "spool").mkdir()
    with Listener(tmp_path, env=environment(tmp_path)) as listener:
        for _ in range(5):
            listener.talk(LOGIN)
        listener.wait_for_records(5)
        spool = tmp_path / "spool/spool"
        until(lambda: spool.exists() and 5 == spool.read_bytes().count(b"END=1"))
        assert 0o660 == spool.stat().st_mode & 0o777
        with RunningSidecar(tmp_path) as sidecar:
            assert sidecar.reaches(5, "auth_attempts_total", **_ACCEPTED)


def test_a_spool_that_hangs(tmp_path: Path) -> None:
    """The process that writes there is stopped, as by a file system that hangs: no login waits for it."""
    (tmp_path / "spool").mkdir()
    with Listener(tmp_path, env=environment(tmp_path)) as listener:
        (spooler,) = processes.children(listener.spawner())
        os.kill(spooler, signal.SIGSTOP)
        for _ in range(20):
            assert b"+OK\r\n+OK \r\n" == listener.talk(LOGIN)
        listener.wait_for_records(20)
        os.kill(spooler, signal.SIGCONT)
        spool = tmp_path / "spool/spool"
        until(lambda: spool.exists() and 20 == spool.read_bytes().count(b"END=1"))


def test_a_spooler_that_is_killed(tmp_path: Path) -> None:
    """Another takes its place, and what comes then is written."""
    (tmp_path / "spool").mkdir()
    with Listener(tmp_path, env=environment(tmp_path)) as listener:
        (spooler,) = processes.children(listener.spawner())
        os.kill(spooler, signal.SIGKILL)
        until(lambda: processes.is_gone(spooler))
        listener.talk(LOGIN)
        spool = tmp_path / "spool/spool"
        until(lambda: spool.exists() and 1 == spool.read_bytes().count(b"END=1"))


def test_the_umask_is_the_subprograms(tmp_path: Path) -> None:
    """What the spool needs for its files is no subprogram's affair."""
    (tmp_path / "spool").mkdir()
    program = ["/bin/sh", "-c", "umask"]
    with Listener(
        tmp_path, subprogram=program, env=environment(tmp_path), prepare=lambda: _set_umask(0o027)
    ) as listener:
        assert [b"0027", b"0027"] == [listener.talk(LOGIN).splitlines()[-1] for _ in range(2)]


def _set_umask(mask: int) -> None:
    os.umask(mask)


def test_a_sidecar_that_is_stopped(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """No login waits for it, and all of them count once it goes on."""
    with Listener(tmp_path, env=environment(tmp_path)) as listener:
        sidecar.signal(signal.SIGSTOP)
        for _ in range(20):
            assert b"+OK\r\n+OK \r\n" == listener.talk(LOGIN)
        assert 20 == len(listener.wait_for_records(20))
        sidecar.signal(signal.SIGCONT)
        assert sidecar.reaches(20, "auth_attempts_total", **_ACCEPTED)
        assert 20 == attempts(sidecar)


def test_a_reader_of_descriptor_5_that_has_stopped(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """Nobody waits for it; lines and events go out together, in order, each time that it reads again."""
    names = [f"'bob{number}'" for number in range(30)]
    with (
        _pipe() as (reader, writer),
        Listener(tmp_path, "--workers", "1", env=environment(tmp_path), log=writer) as listener,
    ):
        for before in (0, 30):
            full = _fill(writer)
            for number in range(30):
                said = b"USER bob%d\r\nPASS x\r\n" % number
                assert b"+OK\r\n+OK \r\n" == listener.talk(said)
            until(lambda: sidecar.value("sessions_active") == 30)
            assert before == attempts(sidecar)
            lines = _drain(reader, full, 30)
            assert names == [line.split()[-1] for line in lines]
            assert sidecar.reaches(before + 30, "auth_attempts_total", **_ACCEPTED)


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def _fill(writer: int) -> int:
    """Fill a pipe; how many bytes it took."""
    os.set_blocking(writer, False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            count += os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    return count


def _drain(reader: int, size: int, count: int) -> list[str]:
    """Read what filled the pipe, then as many lines."""
    data = b""
    while len(data) < size or data[size:].count(b"\n") < count:
        data += os.read(reader, 65536)
    return data[size:].decode().splitlines()


def test_a_storm(tmp_path: Path) -> None:
    """Workers and the sidecar are killed again and again under load: lines and attempts stay the same."""
    with ExitStack() as stack:
        sidecar = stack.enter_context(RunningSidecar(tmp_path))
        listener = stack.enter_context(Listener(tmp_path, "--workers", "2", env=environment(tmp_path)))
        clients = [threading.Thread(target=_log_in, args=(listener, 60)) for _ in range(8)]
        for client in clients:
            client.start()
        for _ in range(3):  # of each: who ends too often is started after a pause that grows
            kill_workers(listener, clients[0])
            sidecar.kill()
            sidecar = stack.enter_context(RunningSidecar(tmp_path))
        for client in clients:
            client.join()
        listener.process.terminate()
        until(lambda: [] == listener.children())
        lines = len(listener.records())
        assert lines > 100
        until(lambda: lines == attempts(sidecar))


def _log_in(listener: Listener, times: int) -> None:
    for _ in range(times):
        with suppress(OSError), socket.create_connection((HOST, listener.port), 60) as peer:
            peer.sendall(LOGIN)
            read_all(peer)


def test_a_spawner_that_is_killed_under_load(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """Never is anything counted that has no line, and of those that have one few are not counted."""
    with Listener(tmp_path, "--workers", "2", env=environment(tmp_path)) as listener:
        clients = [threading.Thread(target=_log_in, args=(listener, 30)) for _ in range(4)]
        for client in clients:
            client.start()
        clients[0].join(0.5)
        kill(listener.spawner())
        for client in clients:
            client.join()
        listener.process.terminate()
        until(lambda: [] == listener.children())
        lines = len(listener.records())
        assert lines > 60
        until(lambda: 0 <= lines - attempts(sidecar) <= 10)
