"""How a sidecar starts: what it makes, what it takes over, and what it refuses in one line."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from observability.event import build
from tests.support import forkserver
from tests.support.descriptors import CHECKOUT
from tests.support.keeper import COMMAND, Keeper
from tests.support.programs import need, need_root
from tests.support.sidecar import SESSION, RunningSidecar, command, deliver, fields, refused
from tests.support.waiting import TIMEOUT, eventually

_OTHER_USER = 64_031


def test_a_new_state_that_somebody_has_locked_is_told(tmp_path: Path) -> None:
    """Nothing can be made of it, and that is one line and status 1."""
    with closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        ended = refused(tmp_path)
    assert (1, 1) == (ended.returncode, len(ended.stderr.splitlines()))
    assert "locked" in ended.stderr


def test_the_second_on_one_state_ends(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """With one line that says who holds it, status 1, and the first serves on."""
    second = refused(tmp_path, "--socket", str(tmp_path / "other.sock"))
    assert (1, "") == (second.returncode, second.stdout)
    holder = f"another sidecar ({sidecar.process.pid})"
    expected = f"qmail-popup-sidecar: the store {sidecar.state} is in use by {holder}\n"
    assert expected == second.stderr
    assert b"\n" == deliver(sidecar.socket, build(fields()))


def test_the_second_on_one_socket_ends(sidecar: RunningSidecar, tmp_path: Path) -> None:
    """It takes nobody's socket away while somebody listens there."""
    second = refused(tmp_path, "--state", str(tmp_path / "other.sqlite"))
    assert 1 == second.returncode
    assert [
        f"qmail-popup-sidecar: cannot listen on {sidecar.socket}: another program is listening on it"
    ] == (second.stderr.splitlines())
    assert b"\n" == deliver(sidecar.socket, build(fields()))


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """What a killed sidecar left behind is no one's."""
    with RunningSidecar(tmp_path) as sidecar:
        sidecar.kill()
        assert sidecar.socket.exists()
    with RunningSidecar(tmp_path) as sidecar:
        assert b"\n" == deliver(sidecar.socket, build(fields()))


@pytest.mark.parametrize("kind", ["file", "directory", "link", "long"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """One line, status 1, and it is still there."""
    path = tmp_path / ("x" * 120 if kind == "long" else "taken")
    if kind == "file":
        path.write_bytes(b"mine")
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    before = path.lstat().st_ino if kind != "long" else None
    ended = refused(tmp_path, "--socket", str(path))
    assert 1 == ended.returncode
    assert 1 == len(ended.stderr.splitlines())
    assert ended.stderr.startswith(f"qmail-popup-sidecar: cannot listen on {path}: ")
    assert before == (path.lstat().st_ino if kind != "long" else None)


def test_what_it_makes_is_for_root_and_its_group(tmp_path: Path) -> None:
    """Whatever the umask: popups connect and leave their events, and nobody else does."""
    before = os.umask(0o077)
    try:
        with RunningSidecar(tmp_path) as sidecar:
            modes = [
                path.stat().st_mode & 0o7777
                for path in (sidecar.socket.parent, sidecar.socket, sidecar.spool)
            ]
            assert [0o750, 0o660, 0o2770] == modes
    finally:
        os.umask(before)


@pytest.mark.parametrize("held", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 2000])
def test_a_state_that_is_corrupt_is_left_untouched(tmp_path: Path, held: bytes) -> None:
    """One line, status 1; --reset-state moves it aside and says where, and the next start begins again."""
    state = tmp_path / "state.sqlite"
    state.write_bytes(held)
    ended = refused(tmp_path)
    assert (1, 1) == (ended.returncode, len(ended.stderr.splitlines()))
    assert held == state.read_bytes()
    status, said = reset(state)
    (aside,) = tmp_path.glob("state.sqlite.2*")
    assert (0, f"qmail-popup-sidecar: moved the state to {aside}\n") == (status, said)
    assert held == aside.read_bytes()
    with RunningSidecar(tmp_path) as sidecar:
        assert b"\n" == deliver(sidecar.socket, build(fields()))
        assert 1 == sidecar.value("sessions_total", **SESSION)


def reset(state: Path) -> tuple[int, str]:
    """Run --reset-state; its status, and what it says."""
    done = forkserver.run("--state", str(state), "--reset-state")
    return done.returncode, done.stderr


def test_a_state_that_is_in_use_is_not_moved(tmp_path: Path) -> None:
    """One line and status 1, and the sidecar goes on; where there is none, that is said, with status 0."""
    state = tmp_path / "state.sqlite"
    assert (0, f"qmail-popup-sidecar: no state to move: {state} does not exist\n") == reset(state)
    with RunningSidecar(tmp_path) as sidecar:
        status, said = reset(state)
        assert (1, 1) == (status, said.count("\n"))
        assert b"\n" == deliver(sidecar.socket, build(fields()))
    assert [state] == [*tmp_path.glob("state.sqlite")]
    assert [] == [*tmp_path.glob("state.sqlite.2*")]


@pytest.mark.parametrize(
    "options",
    [
        ["--state", "/nonexistent/directory/state.sqlite"],
        ["--listen", "192.0.2.1:1"],
        ["--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"],
        ["--socket", "/nonexistent/directory/sidecar.sock"],
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(tmp_path: Path, options: list[str]) -> None:
    """And the status is 1."""
    ended = refused(tmp_path, *options)
    assert (1, "") == (ended.returncode, ended.stdout)
    assert 1 == len(ended.stderr.splitlines())
    assert ended.stderr.startswith("qmail-popup-sidecar: cannot ")


@pytest.mark.parametrize("option", ["--push", "--once", "--otlp", "--textfile", "--nonsense"])
def test_a_bad_option_is_one_line(tmp_path: Path, option: str) -> None:
    """Status 2, and nothing was made."""
    ended = refused(tmp_path, option)
    assert (2, 1) == (ended.returncode, len(ended.stderr.splitlines()))
    assert [] == list(tmp_path.iterdir())


def test_a_socket_that_is_handed_over_is_served(tmp_path: Path) -> None:
    """The manager's socket stays where it is when the sidecar ends, and readiness is told in between."""
    given, manager = tmp_path / "given.sock", tmp_path / "notify.sock"
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        listener.bind(str(given))
        listener.listen(16)
        notified.bind(str(manager))
        notified.settimeout(TIMEOUT)
        process = subprocess.Popen(
            [sys.executable, "-c", _HAND_OVER, str(listener.fileno()), *command(tmp_path)[1:]],
            env={**os.environ, "NOTIFY_SOCKET": str(manager), "LISTEN_FDS": "1"},
            pass_fds=(listener.fileno(),),
            cwd=Path(__file__).resolve().parents[2],
        )
        with process:
            assert b"READY=1" == notified.recv(64)
            assert b"\n" == deliver(given, build(fields()))
            process.terminate()
            assert b"STOPPING=1" == notified.recv(64)
            assert 0 == process.wait(TIMEOUT)
        assert given.exists()
        assert not (tmp_path / "run").exists()


# As a service manager does: the socket becomes descriptor 3, and LISTEN_PID is the one that is executed.
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def _refused_socket(tmp_path: Path, fd: int) -> str:
    """Hand a descriptor over as a service manager does; return the one line with which that is refused."""
    ended = subprocess.run(
        [sys.executable, "-c", _HAND_OVER, str(fd), *command(tmp_path)[1:]],
        env={**os.environ, "LISTEN_FDS": "1"},
        pass_fds=(fd,),
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (1, 1) == (ended.returncode, len(ended.stderr.splitlines()))
    return ended.stderr


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    """LISTEN_FDS that makes no sense is one line and status 1."""
    with (tmp_path / "file").open("wb") as file:
        said = _refused_socket(tmp_path, file.fileno())
    assert said.startswith("qmail-popup-sidecar: LISTEN_FDS is set, but")


def test_a_socket_that_does_not_listen_is_refused(tmp_path: Path) -> None:
    """As a connection is, which a service manager would hand over for each popup: nobody could be served."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert "is not a listening Unix stream socket" in _refused_socket(tmp_path, theirs.fileno())


def test_a_limit_that_leaves_no_descriptor_is_told(tmp_path: Path) -> None:
    """One line and status 1, and not a sidecar that accepts nobody."""
    argv = ["/bin/sh", "-c", 'ulimit -n 128; exec "$@"', "sh", *command(tmp_path)]
    ended = subprocess.run(
        argv,
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (1, 1) == (ended.returncode, len(ended.stderr.splitlines()))
    assert b"open files" in ended.stderr


def test_the_key_is_there_from_the_first_start(sidecar: RunningSidecar) -> None:
    """Whoever asks for a log or for spans later has the same names hashed the same way."""
    key = sidecar.state.with_name("state.sqlite.key")
    assert (0o600, 32) == (key.stat().st_mode & 0o777, len(key.read_bytes()))


def test_it_starts_with_standard_descriptors_closed(tmp_path: Path) -> None:
    """What is opened later is not mistaken for stdout or stderr."""
    script = f"exec {' '.join(command(tmp_path))} --json-log <&- >&- 2>&-"
    with subprocess.Popen(["/bin/sh", "-c", script], cwd=Path(__file__).resolve().parents[2]) as process:
        path = tmp_path / "run" / "sidecar.sock"
        assert eventually(path.exists)
        for _ in range(3):
            assert b"\n" == deliver(path, build(fields()))
        process.terminate()
        assert 0 == process.wait(TIMEOUT)
    assert [] == [
        path for path in tmp_path.rglob("*") if path.is_file() and b"192.0.2.7" in path.read_bytes()
    ]


@pytest.mark.parametrize("limit", ["--nproc=1", "--nproc=4", "--nofile=8", "--nofile=12"])
def test_a_system_that_has_too_little_for_it(limit: str) -> None:
    """Without the threads or descriptors that it needs it ends, with one line and status 1."""
    need_root()  # to become a user of no other process: the limit is the user's
    with tempfile.TemporaryDirectory(prefix="limited-") as scratch:
        Path(scratch).chmod(0o755)  # pytest's own directories are nobody else's
        keeper = Keeper(Path(scratch), [*need("prlimit"), limit, *COMMAND], user=_OTHER_USER)
        status, said = keeper.refused()
        assert (1, 1) == (status, len(said.splitlines()))
        assert said.startswith("qmail-popup-sidecar: ")


@pytest.mark.parametrize(("before", "expected"), [("default_int_handler", -signal.SIGINT), ("SIG_IGN", 7)])
def test_an_interrupt_before_it_serves(before: str, expected: int) -> None:
    """It ends at once without a traceback, unless the signal was ignored by whoever started it."""
    script = (
        "import os, signal, observability.__main__ as program\n"
        f"signal.signal(signal.SIGINT, signal.{before})\n"
        "program.main = lambda *_: os.kill(os.getpid(), signal.SIGINT) or 7\n"
        "raise SystemExit(program.start())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, stderr=subprocess.PIPE, check=False)
    assert (expected, b"") == (ended.returncode, ended.stderr)
