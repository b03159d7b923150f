"""The processes of a listener: what workers may do, who is started again, and how all of it ends."""

import os
import re
import resource
import signal
import socket
from functools import partial
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.descriptors import CHECKOUT
from tests.support.programs import need_root, need_shared
from tests.support.resident import LOGIN, Started, kill, read_all, read_line, refused
from tests.support.waiting import TIMEOUT, until

_SERVED = b"+OK\r\n+OK \r\n"
_HANGING = ("/bin/sh", "-c", "echo begun; read line; echo $line")


def status(pid: int) -> dict[str, str]:
    """Return what the kernel tells of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def limit(pid: int, name: str) -> list[str]:
    """Return a limit of a process, soft and hard."""
    found = re.search(rf"^{name} +(\S+) +(\S+)", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)
    assert found
    return list(found.groups())


def test_what_a_worker_may_do(tmp_path: Path) -> None:
    """It is nobody, in no group, gains nothing by an exec, writes no file and starts no process."""
    need_root()
    with Started(tmp_path, "--workers", "2") as listener:
        workers = listener.workers()
        assert 2 == len(workers)
        for pid in workers:
            told = status(pid)
            assert ("65534\t65534\t65534\t65534", "", "1") == (
                told["Uid"],
                told["Groups"],
                told["NoNewPrivs"],
            )
            assert "65534\t65534\t65534\t65534" == told["Gid"]
            assert "0000000000000000" == told["CapEff"] == told["CapPrm"]
            for name in ("Max file size", "Max processes", "Max core file size"):
                assert ["0", "0"] == limit(pid, name)
            assert 0 == os.stat(f"/proc/{pid}/maps").st_uid  # proc(5): root's, where it is not dumpable


def test_what_a_worker_has_open(tmp_path: Path) -> None:
    """Neither the log nor any file, and descriptor 2 leads nowhere."""
    need_root()  # only root may look into a worker
    with Started(tmp_path, "--workers", "1") as listener:
        (worker,) = listener.workers()
        opened = processes.opened(worker)
        assert {"/dev/null"} == {opened[fd] for fd in range(6)}
        assert {"/dev/null"} == {path for path in opened.values() if path.startswith("/")}


def test_an_ordinary_user(tmp_path: Path) -> None:
    """Started without root, workers stay who they are, one line says so, and the limits are the same."""
    need_root()
    need_shared(CHECKOUT)

    def become() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)

    with Started(tmp_path, "--workers", "1", prepare=become) as listener:
        assert 1 == listener.errors().count("not started as root")
        (worker,) = listener.workers()
        assert ["0", "0"] == limit(worker, "Max processes")
        assert _SERVED == listener.talk(LOGIN)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["pop.example.org"],
        ["pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:65536", "pop.example.org", "/bin/true"],
        ["--pop3", "::1:110", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:0", "--sessions", "0", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:0", "--workers", "257", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:0", "--connections", "many", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:0", "--user", "no-such-user", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:0", "--user", "", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:0", "--user", "root", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:0", "--sessions", "10000005", "pop.example.org", "/bin/true"],
        ["--pop3", "pop..example.org:0", "pop.example.org", "/bin/true"],
        ["--pop3", "h" * 64 + ":0", "pop.example.org", "/bin/true"],
        ["--pop3", "\udcff:0", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:0", "--no-such-option", "pop.example.org", "/bin/true"],
        ["--pop3", "127.0.0.1:0", "h" * 256, "/bin/true"],
    ],
)
def test_a_bad_command_line(arguments: list[str]) -> None:
    """It is one line and status 2."""
    need_root()  # or a line says that it is not root
    done = refused(*arguments)
    assert (2, 1, "") == (done.returncode, done.stderr.count("\n"), done.stdout)
    assert done.stderr.startswith("qmail-popup-listener: ")


def test_a_port_that_is_taken() -> None:
    """It is one line, too, and tcpserver's status."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = refused("--pop3", f"127.0.0.1:{port}", "pop.example.org", "/bin/true")
    assert 111 == done.returncode
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


def _has_another(listener: Started, worker: int) -> bool:
    return listener.workers() not in ([], [worker])


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    """Its own connections end, a login that it has handed over goes on, and another takes its place."""
    with Started(tmp_path, "--workers", "1", subprogram=_HANGING) as listener:
        (worker,) = listener.workers()
        with listener.connect() as idle, listener.connect() as logged_in:
            read_line(idle)
            logged_in.sendall(LOGIN)
            while read_line(logged_in) != b"begun\n":
                pass
            os.kill(worker, signal.SIGKILL)
            assert b"" == read_all(idle)
            until(partial(_has_another, listener, worker))
            logged_in.sendall(b"still here\n")
            assert b"still here\n" == read_all(logged_in)
        assert f"worker 0, process {worker}, was killed by signal 9; restarting in" in listener.errors()
        assert 1 == len(listener.wait_for_records(1))
        assert listener.talk(LOGIN + b"x\n").endswith(b"begun\nx\n")


def test_a_spawner_that_is_killed(tmp_path: Path) -> None:
    """Its logins have no record, their subprograms go on; who has not logged in yet does so at the next."""
    with Started(tmp_path, "--workers", "1", subprogram=_HANGING) as listener:
        spawner = listener.spawner()
        with listener.connect() as early, listener.connect() as late:
            early.sendall(LOGIN)
            while read_line(early) != b"begun\n":
                pass
            read_line(late)
            os.kill(spawner, signal.SIGKILL)
            early.sendall(b"still here\n")
            assert b"still here\n" == read_all(early)
            until(lambda: listener.spawners() not in ([], [spawner]))  # at the old one it would be lost, too
            late.sendall(LOGIN + b"here too\n")
            assert b"+OK \r\nbegun\nhere too\n" == read_all(late)
        assert 1 == len(listener.wait_for_records(1))
        assert f"the spawner, process {spawner}, was killed by signal 9" in listener.errors()


def test_a_child_that_cannot_be_started(tmp_path: Path) -> None:
    """Main says so, keeps what runs, and tries again until there are descriptors."""
    with Started(tmp_path, "--workers", "2") as listener:
        pid = listener.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        for number, start in enumerate((listener.workers, listener.spawners), 1):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
            os.kill(start()[0], signal.SIGKILL)
            until(partial(_says, listener, number))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            until(lambda: (2, 1) == (len(listener.workers()), len(listener.spawners())))
        assert _SERVED == listener.talk(LOGIN)


def _says(listener: Started, kinds: int) -> bool:
    found = re.findall(
        r"cannot start (.*): Too many open files; trying again in [0-9.]+ s$", listener.errors(), re.M
    )
    return kinds == len(set(found))


def test_the_pause_grows(tmp_path: Path) -> None:
    """Who ends again and again is started after longer and longer pauses."""
    with Started(tmp_path, "--workers", "1") as listener:
        for _ in range(3):
            (worker,) = listener.workers()
            os.kill(worker, signal.SIGKILL)
            until(partial(_has_another, listener, worker))
        pauses = re.findall(r"restarting in ([0-9.]+) s", listener.errors())
        assert ["0.1", "0.3", "1.0"] == pauses


def test_sigterm(tmp_path: Path) -> None:
    """No new connections from there on, the first process ends, and the last session ends as it wants to."""
    with Started(tmp_path, "--workers", "2", subprogram=_HANGING) as listener:
        family = listener.children()
        with listener.connect() as logged_in, listener.connect() as idle:
            logged_in.sendall(LOGIN)
            while read_line(logged_in) != b"begun\n":
                pass
            read_line(idle)
            listener.process.terminate()
            assert 0 == listener.process.wait()
            until(lambda: _refuses(listener))
            logged_in.sendall(b"still here\n")
            assert b"still here\n" == read_all(logged_in)
            idle.sendall(LOGIN + b"here too\n")
            assert b"+OK \r\nbegun\nhere too\n" == read_all(idle)
        assert 2 == len(listener.wait_for_records(2))
        until(lambda: all(map(processes.is_gone, family)))


def _refuses(listener: Started) -> bool:
    try:
        listener.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """It is as with SIGTERM: nobody who has logged in is cut off."""
    with Started(tmp_path, "--workers", "1", subprogram=_HANGING) as listener:
        family = listener.children()
        with listener.connect() as logged_in:
            logged_in.sendall(LOGIN)
            while read_line(logged_in) != b"begun\n":
                pass
            listener.process.kill()
            listener.process.wait()
            logged_in.sendall(b"still here\n")
            assert b"still here\n" == read_all(logged_in)
        assert 1 == len(listener.wait_for_records(1))
        until(lambda: all(map(processes.is_gone, family)))


def test_signals_to_all(tmp_path: Path) -> None:
    """A terminal's SIGINT reaches all processes, and ends no session."""
    with Started(tmp_path, "--workers", "1", subprogram=_HANGING) as listener:
        with listener.connect() as logged_in:
            logged_in.sendall(LOGIN)
            while read_line(logged_in) != b"begun\n":
                pass
            for pid in [*listener.children(), listener.process.pid]:
                os.kill(pid, signal.SIGINT)
            assert 0 == listener.process.wait(TIMEOUT)
            logged_in.sendall(b"still here\n")
            assert b"still here\n" == read_all(logged_in)
        assert 1 == len(listener.wait_for_records(1))


def test_numbers_after_a_restart(tmp_path: Path) -> None:
    """A restart within the same second gives other timestamps, and so does one of a worker."""
    stamps = []
    for attempt in range(2):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        with Started(directory, "--workers", "1", env={"POP3AUTH": "apop"}) as listener:
            stamps += [listener.talk(b"QUIT\r\n").split()[1] for _ in range(3)]
            (worker,) = listener.workers()
            kill(worker)
            until(partial(_has_another, listener, worker))
            stamps += [listener.talk(b"QUIT\r\n").split()[1] for _ in range(3)]
    assert 12 == len(set(stamps))


def test_help_and_version() -> None:
    """They are for people, and status 0."""
    for option in ("--help", "--version"):
        done = refused(option)
        assert (0, "") == (done.returncode, done.stderr)
        assert "qmail-popup-listener" in done.stdout


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """A subprogram that has ended is no zombie of the spawner's."""
    with Started(tmp_path) as listener:
        for _ in range(20):
            assert _SERVED == listener.talk(LOGIN)
        listener.wait_for_records(20)
        until(lambda: [] == processes.children(listener.spawner()))


def test_a_client_that_a_dead_worker_was_told_of(tmp_path: Path) -> None:
    """The kernel wakes one worker for a client; where that is killed the other ones take the client."""
    with Started(tmp_path, "--workers", "2") as listener:
        one, other = listener.workers()
        for pid in (one, other):
            os.kill(pid, signal.SIGSTOP)
        with listener.connect() as peer:
            os.kill(one, signal.SIGKILL)
            os.kill(other, signal.SIGCONT)
            peer.sendall(LOGIN)
            assert _SERVED == read_all(peer)
