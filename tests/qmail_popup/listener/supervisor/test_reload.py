"""Reloading a listener: the same process and the same sockets, and all else as it would be started now."""

import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.descriptors import CHECKOUT
from tests.support.load import Load
from tests.support.programs import need_root
from tests.support.resident import CHECKOUT_COMMAND, LOGIN, Listener, read_all, read_line, refused
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import TIMEOUT, until

_SERVED = b"+OK\r\n+OK \r\n"
_ACCEPTED = {"result": "accepted", "method": "User", "protocol": "POP3"}
_HANGING = ("/bin/sh", "-c", "echo begun; read line; echo $line")
_PROGRAM = """\
import os, sys
sys.path.insert(0, {checkout!r})
from qmail_popup.listener.__main__ import main
{change}
sys.exit(main(sys.argv[1:], os.environb))
"""


class Program:
    """The program, as an upgrade would change it: a file that runs it, with a line of somebody's own."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "program.py"
        self.command = (sys.executable, str(self._file))
        self.change("")

    def change(self, line: str) -> None:
        """Replace it by another version."""
        new = self._file.with_suffix(".new")
        new.write_text(_PROGRAM.format(checkout=str(CHECKOUT), change=line))
        new.replace(self._file)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a program that can be changed."""
    return Program(tmp_path)


def environment(directory: Path) -> dict[str, str]:
    """Return what tells a listener of the sidecar in a directory."""
    return {
        "QMAIL_POPUP_SIDECAR": str(directory / "run/sidecar.sock"),
        "QMAIL_POPUP_SPOOL": str(directory / "spool"),
    }


def log_in(peer: socket.socket) -> None:
    """Log in, and wait until the subprogram has begun."""
    peer.sendall(LOGIN)
    while read_line(peer) != b"begun\n":
        pass


def test_under_load(tmp_path: Path) -> None:
    """No connection is refused and none has to wait, each login has its record, and counts once."""
    with (
        RunningSidecar(tmp_path) as sidecar,
        Listener(tmp_path, "--workers", "2", env=environment(tmp_path)) as listener,
        Load(listener.port, LOGIN, clients=4) as load,
    ):
        for _ in range(4):
            load.wait_for_more(10)
            listener.reload()
        load.stop()
        assert {_SERVED} == set(load.answers)
        assert len(load.answers) == len(listener.wait_for_records(len(load.answers)))
        assert listener.process.poll() is None
        assert sidecar.reaches(len(load.answers), "auth_attempts_total", **_ACCEPTED)
        numbers = [record.split()[2] for record in listener.records()]
        assert len(numbers) == len(set(numbers))


def test_kills_of_workers(tmp_path: Path) -> None:
    """Whichever generation's are killed, and when: each record counts once, and no number comes twice."""
    with (
        RunningSidecar(tmp_path) as sidecar,
        Listener(tmp_path, "--workers", "2", env=environment(tmp_path)) as listener,
        Load(listener.port, LOGIN, clients=4) as load,
    ):
        for number in range(6):
            if number % 2:
                listener.process.send_signal(signal.SIGHUP)
            victim = listener.workers()[number % 2]
            with suppress(ProcessLookupError):  # it may have ended with its last session
                os.kill(victim, signal.SIGKILL)
            load.wait_for_more(5)
            listener.reload()
        load.stop()
        assert sidecar.reaches(0, "sessions_active")
        until(lambda: sidecar.value("auth_attempts_total", **_ACCEPTED) == len(listener.records()))
        numbers = [record.split()[2] for record in listener.records()]
        assert len(numbers) == len(set(numbers)) >= 30


def test_what_changes_behind_the_check(program: Program, tmp_path: Path) -> None:
    """Where the program cannot start after all, those of before serve until it can."""
    flag = tmp_path / "flag"
    checked = "'--check' in sys.argv"
    with Listener(tmp_path, "--workers", "1", command=program.command) as listener:
        flag.touch()
        program.change(f"{checked} or not os.path.exists({str(flag)!r}) or sys.argv.insert(1, '--no-such')")
        listener.process.send_signal(signal.SIGHUP)
        until(lambda: 2 <= listener.errors().count("unrecognized arguments: --no-such"))
        assert [_SERVED] * 5 == [listener.talk(LOGIN) for _ in range(5)]
        flag.unlink()
        until(lambda: "qmail-popup-listener: reloaded\n" in listener.errors())
        assert [_SERVED] * 5 == [listener.talk(LOGIN) for _ in range(5)]
        assert 5 + 5 == len(listener.wait_for_records(10))
        until(lambda: 2 == len(listener.children()))


def test_a_stop_behind_the_check(program: Program, tmp_path: Path) -> None:
    """SIGTERM ends a program that cannot start after all, and then those of before end, too."""
    with Listener(tmp_path, "--workers", "1", command=program.command) as listener:
        family = listener.children()
        program.change("'--check' in sys.argv or sys.argv.insert(1, '--no-such')")
        listener.process.send_signal(signal.SIGHUP)
        until(lambda: "unrecognized arguments: --no-such" in listener.errors())
        listener.process.terminate()
        listener.process.wait(TIMEOUT)
        until(lambda: all(map(processes.is_gone, family)))


def test_signals_in_a_burst(tmp_path: Path) -> None:
    """However many come at once, and while it reloads, it reloads and goes on."""
    with Listener(tmp_path, "--workers", "1") as listener, Load(listener.port, LOGIN, clients=2) as load:
        for _ in range(300):
            listener.process.send_signal(signal.SIGHUP)
        load.wait_for_more(20)
        listener.reload()
        load.wait_for_more(20)
        load.stop()
        assert {_SERVED} == set(load.answers)
        assert listener.process.poll() is None


def test_a_signal_while_the_next_generation_starts(program: Program, tmp_path: Path) -> None:
    """It waits until somebody handles it: the program that was executed has no handler yet."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with Listener(tmp_path, "--workers", "1", command=program.command) as listener:
        program.change(f"'--check' in sys.argv or open({str(gate)!r}).read()")
        listener.process.send_signal(signal.SIGHUP)
        with gate.open("w"):  # waits until it is executed
            program.change("")
            listener.process.send_signal(signal.SIGHUP)
        until(lambda: ": reloaded\n" in listener.errors() or listener.process.poll() is not None)
        assert (None, _SERVED) == (listener.process.poll(), listener.talk(LOGIN))


def test_a_signal_while_a_check_is_under_way(program: Program, tmp_path: Path) -> None:
    """What was checked may have changed since: it is checked once more before anything is executed."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with Listener(tmp_path, "--workers", "1", command=program.command) as listener:
        program.change(f"open({str(gate)!r}).read()")
        listener.process.send_signal(signal.SIGHUP)
        with gate.open("w"):  # waits until it is checked
            program.change("sys.argv.insert(1, '--no-such')")
            listener.process.send_signal(signal.SIGHUP)
        until(lambda: "unrecognized" in listener.errors())
        assert "not reloaded, nothing has changed: unrecognized" in listener.errors()
        assert _SERVED == listener.talk(LOGIN)


def test_a_worker_of_before_that_does_not_hear(tmp_path: Path) -> None:
    """The reload is over only when all of before have said that they take no newcomers."""
    with Listener(tmp_path, "--workers", "2") as listener:
        deaf, other = listener.workers()
        os.kill(deaf, signal.SIGSTOP)
        listener.process.send_signal(signal.SIGHUP)
        until(lambda: processes.is_gone(other))
        assert (_SERVED, False) == (listener.talk(LOGIN), ": reloaded\n" in listener.errors())
        os.kill(deaf, signal.SIGCONT)
        until(lambda: ": reloaded\n" in listener.errors())


def test_sessions_of_before(tmp_path: Path) -> None:
    """Who has logged in goes on, and so does who has not; their processes end with them, and not before."""
    with Listener(tmp_path, "--workers", "1", subprogram=_HANGING) as listener:
        family = listener.children()
        with listener.connect() as logged_in, listener.connect() as idle:
            log_in(logged_in)
            read_line(idle)
            for _ in range(3):
                listener.reload()
            logged_in.sendall(b"still here\n")
            assert b"still here\n" == read_all(logged_in)
            log_in(idle)
            idle.sendall(b"here too\n")
            assert b"here too\n" == read_all(idle)
        assert 2 == len(listener.wait_for_records(2))
        until(lambda: all(map(processes.is_gone, family)))
        until(lambda: 2 == len(listener.children()))


def sockets(pid: int) -> set[str]:
    """Return the sockets that a process has open."""
    return {link for link in processes.opened(pid).values() if link.startswith("socket:")}


def test_they_take_no_newcomers(tmp_path: Path) -> None:
    """Every new connection is the next generation's, and none is left to who does not look any more."""
    need_root()  # only root may look into a worker
    with Listener(tmp_path, "--workers", "1", subprogram=_HANGING) as listener, listener.connect() as idle:
        read_line(idle)
        (before,) = listener.workers()
        listener.reload()
        until(lambda: not sockets(before) & sockets(listener.process.pid))
        os.kill(before, signal.SIGSTOP)
        try:
            for _ in range(20):
                assert _SERVED == listener.talk(b"NOOP\r\n")
        finally:
            os.kill(before, signal.SIGCONT)


def test_they_end_with_the_listener(tmp_path: Path) -> None:
    """A worker of before that is killed takes its own connections along, and is not started again."""
    with Listener(tmp_path, "--workers", "1") as listener, listener.connect() as idle:
        read_line(idle)
        (before,) = listener.workers()
        listener.reload()
        os.kill(before, signal.SIGKILL)
        assert b"" == read_all(idle)
        said = f"process {before}, from before the reload, was killed by signal 9\n"
        until(lambda: said in listener.errors())
        until(lambda: 2 == len(listener.children()))


def test_a_new_version(program: Program, tmp_path: Path) -> None:
    """It is the new code that serves."""
    with Listener(tmp_path, command=program.command) as listener:
        assert _SERVED == listener.talk(LOGIN)
        program.change(
            "import qmail_popup.protocol as p; p.Authorization.greeting = lambda self: b'+OK new\\r\\n'"
        )
        listener.reload()
        assert b"+OK new\r\n+OK \r\n" == listener.talk(LOGIN)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("sys.argv.insert(1, '--no-such-option')", "unrecognized arguments: --no-such-option"),
        ("sys.argv[1:1] = ['--user', 'no-such-user']", "no such user: no-such-user"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("os.kill(os.getpid(), 11)", "the check exited with -11"),
    ],
)
def test_what_cannot_start(program: Program, tmp_path: Path, change: str, why: str) -> None:
    """It is one line, nobody notices, and a good one is taken after that."""
    if "--user" in change:
        need_root()  # nobody else has a use for the option
    with Listener(tmp_path, "--workers", "1", command=program.command, subprogram=_HANGING) as listener:
        family = listener.children()
        with listener.connect() as logged_in:
            log_in(logged_in)
            program.change(change)
            said = listener.refuses_to_reload()
            assert f"qmail-popup-listener: not reloaded, nothing has changed: {why}\n" == said
            assert family == listener.children()
            logged_in.sendall(b"still here\n")
            assert b"still here\n" == read_all(logged_in)
        program.change("")
        listener.reload()
        assert listener.talk(LOGIN + b"x\n").endswith(b"begun\nx\n")


def test_an_interpreter_that_is_gone(tmp_path: Path) -> None:
    """Nothing can be executed: one line, and all goes on."""
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    command = (str(python), *CHECKOUT_COMMAND[1:])
    with Listener(tmp_path, "--workers", "1", command=command) as listener:
        family = listener.children()
        python.unlink()
        said = listener.refuses_to_reload()
        assert (1, True) == (said.count("\n"), f"cannot execute {python}: No such file" in said)
        assert (family, _SERVED) == (listener.children(), listener.talk(LOGIN))


def test_an_interpreter_that_goes_behind_the_check(program: Program, tmp_path: Path) -> None:
    """One line, and all is as before, under nohup too: it serves, reloads, and can be stopped."""
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    command = ("nohup", str(python), program.command[1])
    with Listener(tmp_path, "--workers", "1", command=command) as listener:
        program.change("'--check' in sys.argv and os.unlink(sys.executable)")
        said = listener.refuses_to_reload()
        assert (1, True) == (said.count("\n"), f"cannot execute {python}: No such file" in said)
        assert (0, _SERVED) == (_inheritable(listener.process.pid), listener.talk(LOGIN))
        program.change("")
        python.symlink_to(sys.executable)
        listener.reload()
        assert 0 == _inheritable(listener.process.pid)
        listener.process.terminate()
        assert 0 == listener.process.wait(TIMEOUT)


def _inheritable(pid: int) -> int:
    """Return how many of a process's sockets a program that it executes would have."""
    flags = [
        Path(f"/proc/{pid}/fdinfo/{fd}").read_text().split("flags:")[1].split()[0]
        for fd, link in processes.opened(pid).items()
        if link.startswith("socket:")
    ]
    return sum(not int(flag, 8) & os.O_CLOEXEC for flag in flags)


def test_a_check_that_hangs(program: Program, tmp_path: Path) -> None:
    """It is killed after a while, which is one line, and all goes on."""
    program.change(
        "import qmail_popup.listener.supervisor.trial; qmail_popup.listener.supervisor.trial._SECONDS = 1.0"
    )
    with Listener(tmp_path, "--workers", "1", command=program.command) as listener:
        program.change("import time; time.sleep(1000)")
        assert listener.refuses_to_reload().endswith(": the check took longer than 1 s\n")
        assert _SERVED == listener.talk(LOGIN)
        assert listener.refuses_to_reload().endswith(": the check took longer than 1 s\n")
        assert 2 == len(listener.children())


def test_a_check_that_leaves_a_process(program: Program, tmp_path: Path) -> None:
    """Nothing waits for whoever else has its descriptor 2."""
    left = tmp_path / "left"
    sleep = f"open({str(left)!r}, 'w').write(str(os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '1000')))"
    with Listener(tmp_path, "--workers", "1", command=program.command) as listener:
        program.change(f"'--check' in sys.argv and {sleep}")
        listener.reload()
        assert _SERVED == listener.talk(LOGIN)
        os.kill(int(left.read_text()), signal.SIGKILL)


def test_workers_that_do_not_serve(program: Program, tmp_path: Path) -> None:
    """Where a check finds nothing and workers end at their start, those of before serve on, however often."""
    with Listener(tmp_path, "--workers", "1", command=program.command) as listener:
        program.change("import qmail_popup.listener.process.privileges as p; p.give_up = None")
        for _ in range(2):
            before = len(listener.errors())
            listener.process.send_signal(signal.SIGHUP)
            until(partial(_fails_anew, listener, before))
            assert [_SERVED] * 5 == [listener.talk(LOGIN) for _ in range(5)]
        program.change("")
        listener.reload()
        assert [_SERVED] * 5 == [listener.talk(LOGIN) for _ in range(5)]
        until(lambda: 2 == len(listener.children()))


def _fails_anew(listener: Listener, before: int) -> bool:
    """Return whether another generation's worker has ended since: its first pause is the shortest."""
    return "restarting in 0.1 s" in listener.errors()[before:]


def test_a_stop_in_the_middle(program: Program, tmp_path: Path) -> None:
    """SIGTERM ends it at once while a check is under way, and the check with it."""
    with Listener(tmp_path, "--workers", "1", command=program.command) as listener:
        family = set(listener.children())
        program.change("import time; time.sleep(1000)")
        listener.process.send_signal(signal.SIGHUP)
        until(lambda: bool(set(listener.children()) - family))
        (trial,) = set(listener.children()) - family
        listener.process.terminate()
        assert 0 == listener.process.wait(TIMEOUT)
        until(lambda: processes.is_gone(trial))


def test_numbers(program: Program, tmp_path: Path) -> None:
    """Those of a generation are above those of the one before, wherever the host's clock is set meanwhile."""
    env = {"POP3AUTH": "apop"}
    with Listener(tmp_path, "--workers", "2", env=env, command=program.command) as listener:
        generations = []
        for hours in (0, -1, 2, -3):
            program.change(f"import time; now = time.time; time.time = lambda: now() + {hours} * 3600")
            listener.reload()
            stamps = [listener.talk(b"QUIT\r\n").split()[1] for _ in range(5)]
            generations.append({int(stamp[1:].split(b".")[0]) for stamp in stamps})
        assert [5] * 4 == [len(numbers) for numbers in generations]
        assert all(max(before) < min(after) for before, after in pairwise(generations))


def test_what_a_subprogram_inherits(tmp_path: Path) -> None:
    """Environment, limits and signals are what they were before a reload, and no descriptor is new."""
    show = "env; ulimit -Sn; grep ^Sig[^Q] /proc/self/status; ls /proc/self/fd"
    program = ("/bin/sh", "-c", show)

    def told() -> list[bytes]:
        lines = listener.talk(LOGIN).splitlines()
        return sorted(line for line in lines if not line.startswith(b"TCPREMOTEPORT"))

    env = {"LANG": "C", "SOMETHING": "else"}
    with Listener(tmp_path, subprogram=program, env=env, prepare=_nohup) as listener:
        before = told()
        listener.reload()
        assert before == told()
        assert not [line for line in before if line.startswith((b"LC_CTYPE", b"QMAIL_POPUP"))]


def _nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def test_check() -> None:
    """--check says what is wrong, or nothing."""
    need_root()
    done = refused("--check", "--user", "no-such-user", "pop.example.org", "/bin/true")
    assert (2, "qmail-popup-listener: no such user: no-such-user\n") == (done.returncode, done.stderr)
    done = refused("--check", "pop.example.org", "/bin/true")
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
