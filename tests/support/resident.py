"""A running qmail-popup-listener on a port chosen by the kernel."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.support import descriptors, processes
from tests.support.forkserver import LISTENER, Process
from tests.support.waiting import TIMEOUT, until

HOST = "127.0.0.1"
HOSTNAME = "pop.example.org"
CHECKOUT_COMMAND = (sys.executable, "-m", "qmail_popup.listener")
_HANDING_IN = ("/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh")
LOGIN = b"USER bob\r\nPASS x\r\n"
_RELOADED, _NOT_RELOADED = "qmail-popup-listener: reloaded\n", "qmail-popup-listener: not reloaded, "
_PORT = re.compile(r"pop3 on [^ ]*:([0-9]+)$", re.MULTILINE)


class Listener:
    """One listener; leaving the context ends it and everything it has started.

    log: the file on descriptor 5, unless another descriptor was given
    """

    _may_fork = "PYTEST_VERSION" in os.environ  # benchmarks measure the program itself

    def __init__(  # noqa: PLR0913  everything that a process inherits
        self,
        directory: Path,
        *options: str,
        subprogram: Sequence[str] = ("/bin/true",),
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = CHECKOUT_COMMAND,
        log: int | None = None,
        handed_in: Sequence[socket.socket] = (),
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Start it, and wait until it serves. handed_in: its sockets, as from systemd."""
        self.log, self._errors = directory / "log", directory / "errors"
        fds = self._descriptors(log)
        environ = {"PATH": os.environ["PATH"], **(env or {})}
        if handed_in:
            command = (*_HANDING_IN, *command)
            environ |= {"LISTEN_FDS": str(len(handed_in))}
        else:
            options = ("--pop3", f"{HOST}:0", *options)
        handed = {fd: sock.fileno() for fd, sock in enumerate(handed_in, 3)}
        argv = [*options, HOSTNAME, *subprogram]
        self.process: descriptors.Started | Process
        if self._may_fork and command == CHECKOUT_COMMAND and prepare is None:
            self.process = Process(LISTENER, argv, environ=environ, fds=fds)
        else:
            self.process = descriptors.start(
                [*command, *argv], {**fds, **handed}, env=environ, prepare=prepare
            )
        descriptors.close(fds.values())
        self._family: set[int] = {self.process.pid}
        self.port = self._served_port()
        self._family |= set(self.children())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        kill(*self._family)
        descriptors.wait(self.process, 0)

    def _descriptors(self, log: int | None) -> dict[int, int]:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        return {
            0: os.open("/dev/null", os.O_RDONLY),
            1: os.open("/dev/null", os.O_WRONLY),
            2: os.open(self._errors, flags, 0o600),
            5: os.open(self.log, flags, 0o600) if log is None else os.dup(log),
        }

    def _served_port(self) -> int:
        """Wait until it serves; return its port."""
        until(lambda: bool(_PORT.search(self.errors())) or self.process.poll() is not None)
        found = _PORT.search(self.errors())
        assert found, self.errors()
        return int(found[1])

    def announced(self, pattern: str) -> str:
        """Wait for a line on descriptor 2, of which each socket has its own; return the pattern's group."""
        until(lambda: bool(re.search(pattern, self.errors(), re.MULTILINE)))
        return str(re.findall(pattern, self.errors(), re.MULTILINE)[0])

    def errors(self) -> str:
        """Return its output on descriptor 2, without timestamps."""
        return self._errors.read_text(encoding="latin-1")

    def reload(self) -> None:
        """Reload it, and wait until the next generation serves."""
        count = self.errors().count(_RELOADED)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.errors().count(_RELOADED) > count)

    def refuses_to_reload(self) -> str:
        """Try to reload it, and return the log line that says why it does not."""
        before = self.errors()
        self.process.send_signal(signal.SIGHUP)
        until(lambda: _NOT_RELOADED in self.errors()[len(before) :])
        return self.errors()[len(before) :]

    def records(self) -> list[str]:
        """Return the lines of descriptor 5."""
        return self.log.read_text(encoding="latin-1").splitlines()

    def wait_for_records(self, count: int) -> list[str]:
        """Wait until there are `count` lines; return all."""
        until(lambda: len(self.records()) >= count)
        return self.records()

    def children(self) -> list[int]:
        """Return its running child processes."""
        return [pid for pid in processes.children(self.process.pid) if not processes.is_gone(pid)]

    def workers(self) -> list[int]:
        """Return its workers."""
        return [pid for pid in self.children() if name_of(pid) == "popup-worker"]

    def spawner(self) -> int:
        """Return its spawner."""
        (pid,) = self.spawners()
        return pid

    def spawners(self) -> list[int]:
        """Return its spawner as a list, empty while there is none."""
        return [pid for pid in self.children() if name_of(pid) == "popup-spawner"]

    def connect(self, source: str = HOST) -> socket.socket:
        """Connect from an address, without reading."""
        peer = socket.create_connection((HOST, self.port), TIMEOUT, (source, 0))
        peer.settimeout(TIMEOUT)
        return peer

    def talk(self, said: bytes, source: str = HOST) -> bytes:
        """Send everything at once, half-close, and return everything received, including the greeting."""
        with self.connect(source) as peer:
            greeting = read_line(peer)
            with suppress(OSError):  # the listener may close first
                peer.sendall(said)
                peer.shutdown(socket.SHUT_WR)
            return greeting + read_all(peer)


class Started(Listener):
    """A listener that is a program of its own from the start, for tests of what it inherits."""

    _may_fork = False


class Peer(Protocol):
    """A socket, or TLS on one."""

    def recv(self, size: int, /) -> bytes:
        """Receive data; empty at end of file."""


def read_line(peer: Peer) -> bytes:
    """Read one line and nothing after it; less if the connection ends before."""
    line = b""
    while not line.endswith(b"\n") and (byte := _receive(peer, 1)):
        line += byte
    return line


def read_all(peer: Peer) -> bytes:
    """Read to end of file."""
    return b"".join(iter(lambda: _receive(peer, 65536), b""))


def _receive(peer: Peer, size: int) -> bytes:
    try:
        return peer.recv(size)
    except ConnectionError:
        return b""


def name_of(pid: int) -> str:
    """Return a process's name; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def kill(*pids: int) -> None:
    """Kill processes, if they still run, and all their descendants."""
    for pid in (*pids, *processes.descendants(*pids)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def refused(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Start a listener that should exit by itself."""
    return subprocess.run(
        [*CHECKOUT_COMMAND, *arguments],
        env={"PATH": os.environ["PATH"], **(env or {})},
        cwd=descriptors.CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
