"""deploy/demo: `make run` at a terminal, used as its own lines tell, and what is left when it has ended."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.programs import environ_without_make, need
from tests.support.server import free_port
from tests.support.waiting import TIMEOUT, until

LAST_LINE = "Ctrl-C stops everything."


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections on that port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Terminal:
    """A pseudo-terminal with `make run` in its foreground, and what has appeared on it."""

    def __init__(self, checkout: Path, scratch: Path) -> None:
        need("openssl", "curl")
        self.scratch, self.shown = scratch, ""
        self.port, self.metrics_port = free_port(), free_port()
        self.screen, inside = os.openpty()
        ports = [f"PORT={self.port}", f"METRICS_PORT={self.metrics_port}"]
        self.make = subprocess.Popen(
            ["setsid", "--ctty", "make", "run", *ports],
            cwd=checkout,
            env={**environ_without_make(), "TMPDIR": str(scratch)},
            stdin=inside,
            stdout=inside,
            stderr=inside,
        )
        os.close(inside)

    def wait_for(self, pattern: str) -> str:
        """Return all that is shown once the pattern is in it."""
        while not re.search(pattern, self.shown):
            if not select.select([self.screen], [], [], TIMEOUT)[0]:
                pytest.fail(f"no {pattern!r} in:\n{self.shown}")
            try:
                self.shown += os.read(self.screen, 4096).decode().replace("\r\n", "\n")
            except OSError:  # all have ended who had it open
                pytest.fail(f"no {pattern!r}, and the end, in:\n{self.shown}")
        return self.shown

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.screen, keys)

    def hang_up(self) -> None:
        """Take the terminal away, as closing its window or losing its connection does."""
        if self.screen >= 0:
            os.close(self.screen)
        self.screen = -1

    def clear(self) -> None:
        """End what a test has left that failed, so that no other fails for it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.make.wait(TIMEOUT)
        for process in self.processes():
            os.kill(process, signal.SIGKILL)
        self.make.wait()

    def processes(self) -> dict[int, str]:
        """Return what runs with our scratch directory in its environment: process ids and command lines."""
        mark, found = os.fsencode(self.scratch), {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found


@pytest.fixture
def terminal(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Return a terminal on which `make run` has said how to log in."""
    terminal = Terminal(checkout, tmp_path_factory.mktemp("demo"))
    try:
        terminal.wait_for(re.escape(LAST_LINE))
        yield terminal
    finally:
        terminal.hang_up()
        terminal.clear()


@pytest.fixture
def client(terminal: Terminal) -> Iterator[socket.socket]:
    """Return a client that is logged in, so that a session is under way."""
    with socket.create_connection(("127.0.0.1", terminal.port), TIMEOUT) as client:
        client.sendall(b"USER demo\r\nPASS demo\r\nSTAT\r\n")
        received = b""
        while b"+OK 2 " not in received:
            chunk = client.recv(4096)
            assert chunk, received
            received += chunk
        yield client


def type_ctrl_c(terminal: Terminal) -> None:
    """End it as the last line tells."""
    terminal.type(b"\x03")


def kill_make(terminal: Terminal) -> None:
    """End it as a script would."""
    os.kill(terminal.make.pid, signal.SIGTERM)


def typed(line: str) -> str:
    """Return what a command line prints, typed at a shell as it stands."""
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout


def test_a_login_as_the_screen_tells_is_shown_and_counted(terminal: Terminal) -> None:
    """All curl lines work as they are: a message in clear, one over TLS, their records, and their counts."""
    clear, secure, metrics = re.findall(r"^ +(curl .*)$", terminal.shown, re.MULTILINE)
    for line, subject, protocol in ((clear, "Welcome", "POP3"), (secure, "What to try next", "POP3S")):
        assert f"Subject: {subject}" in typed(line)
        terminal.wait_for(rf"pid \d+ Accept::AUTH::User P:{protocol} S:127\.0\.0\.1:\S+ \?~ 'demo'\n")
    until(lambda: {"POP3", "POP3S"} == set(_COUNTED.findall(typed(metrics))))


_COUNTED = re.compile(
    r'qmail_popup_auth_attempts_total{method="User",protocol="(\w+)",result="accepted"} 1.0'
)


@pytest.mark.parametrize("end", [type_ctrl_c, kill_make, Terminal.hang_up])
@pytest.mark.usefixtures("client")
def test_nothing_is_left(terminal: Terminal, end: Callable[[Terminal], None]) -> None:
    """However it ends, with a session under way: no process, no file, and both ports are free."""
    commands = " ".join(terminal.processes().values())
    assert all(word in commands for word in ("qmail_popup.listener", "pop3.py", "observability"))
    end(terminal)
    terminal.make.wait(TIMEOUT)
    until(lambda: not terminal.processes())
    assert [] == list(terminal.scratch.iterdir())
    assert (False, False) == (listens(terminal.port), listens(terminal.metrics_port))


def test_what_it_writes_is_private(terminal: Terminal) -> None:
    """Nobody else reads the demo's mail or its password file."""
    (scratch,) = terminal.scratch.iterdir()
    assert 0o700 == scratch.stat().st_mode & 0o777


def test_a_server_that_ends_by_itself_ends_the_demo(terminal: Terminal) -> None:
    """A sidecar that is merely stopped and continued changes nothing; one that is killed ends everything."""
    (sidecar,) = (pid for pid, command in terminal.processes().items() if "-m observability" in command)
    os.kill(sidecar, signal.SIGSTOP)
    os.kill(sidecar, signal.SIGCONT)
    assert listens(terminal.port)
    os.kill(sidecar, signal.SIGKILL)
    terminal.wait_for("qmail-popup demo: a server exited unexpectedly\n")
    assert 0 != terminal.make.wait(TIMEOUT)
    until(lambda: not terminal.processes())


def run_demo(checkout: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """Run a demo that is expected to end at once: status, output, errors."""
    ended = subprocess.run(
        [sys.executable, checkout / "deploy" / "demo" / "run.py", *arguments],
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_port_that_is_taken_is_said_in_one_line(checkout: Path, option: str) -> None:
    """The line names the port, and the variable of make that names another."""
    need("tcpserver")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"--port": str(free_port()), "--metrics-port": str(free_port()), option: str(port)}
        status, output, errors = run_demo(checkout, *(word for pair in ports.items() for word in pair))
    assert (1, "") == (status, output)
    assert 1 == errors.count("\n")
    assert f"127.0.0.1:{port}: Address already in use" in errors
    assert f"choose another with {option[2:].replace('-', '_').upper()}=" in errors


def test_a_port_that_cannot_be_is_said_in_one_line(checkout: Path) -> None:
    """A number that is no port is no traceback either."""
    need("tcpserver")
    status, _, errors = run_demo(checkout, "--port", "65536")
    assert (1, 1) == (status, errors.count("\n"))


def test_a_missing_program_is_said_in_one_line(checkout: Path) -> None:
    """Started by itself, without make, it names what is not installed."""
    status, output, errors = run_demo(checkout, PATH="/nonexistent")
    assert (1, "") == (status, output)
    assert 1 == errors.count("\n")
    assert "openssl" in errors
