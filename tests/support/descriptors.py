"""Starts a program with exactly the descriptors that a test names, and holds their other ends.

Knows descriptors and bytes, not POP3.
"""

import fcntl
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.support.waiting import TIMEOUT

CHECKOUT = Path(__file__).resolve().parents[2]

_PARKED = 200
"""Descriptors are first moved above this number, so that placing one does not overwrite another."""

Environment = Mapping[str, str] | Mapping[bytes, bytes]


class Spawned:
    """A program started by posix_spawn(3), with the part of subprocess.Popen that tests use."""

    def __init__(self, argv: Sequence[str | bytes], fds: Mapping[int, int], env: Environment) -> None:
        """Start the program with only these descriptors (number there → number here)."""
        parked = {target: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _PARKED) for target, fd in fds.items()}
        placed = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in parked.items()]
        others = {int(name) for name in os.listdir("/proc/self/fd")} - {*parked, *parked.values()}
        closed = [(os.POSIX_SPAWN_CLOSE, fd) for fd in others]
        try:
            self.pid = os.posix_spawn(
                _path(argv[0], env),
                [*argv],
                env,
                file_actions=[*closed, *placed],
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores these
            )
        finally:
            close(parked.values())
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return its status if it has ended, negative for a signal."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait for its end and return its status."""
        if self.poll() is None:
            end = os.pidfd_open(self.pid)
            select.select([end], [], [], timeout)
            os.close(end)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


Started = subprocess.Popen[bytes] | Spawned


class Running(Protocol):
    """Any of these, or a process of a fork server."""

    def wait(self, timeout: float, /) -> int:
        """Wait for its end; subprocess.TimeoutExpired."""

    def kill(self) -> None:
        """Kill it."""


def start(  # noqa: PLR0913  everything that a process inherits
    argv: Sequence[str | bytes],
    fds: Mapping[int, int],
    *,
    env: Environment,
    cwd: Path = CHECKOUT,
    ignore: Collection[signal.Signals] = (),
    prepare: Callable[[], None] | None = None,
) -> Started:
    """Start `argv` with only the descriptors `fds` (number there → number here).

    `prepare` runs in the child last, for limits and user ids. Without it nothing is forked: copying the page
    tables of the test process takes ten times as long as everything else.
    """
    if not ignore and prepare is None and Path.cwd() == cwd:
        return Spawned(argv, fds, env)

    def become() -> None:
        place(fds)
        for number in ignore:
            signal.signal(number, signal.SIG_IGN)
        if prepare is not None:
            prepare()

    return subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        preexec_fn=become,  # noqa: PLW1509  no other call sets descriptors one by one
        close_fds=False,
    )


def _path(program: str | bytes, env: Environment) -> str | bytes:
    """Find a program in the PATH of its environment."""
    name = os.fsdecode(program)
    search = {os.fsdecode(key): os.fsdecode(value) for key, value in env.items()}.get("PATH")
    return shutil.which(name, path=search) or name


def place(fds: Mapping[int, int]) -> None:
    """Give this process only these descriptors (number from now on → number so far)."""
    parked = {target: fcntl.fcntl(source, fcntl.F_DUPFD, _PARKED) for target, source in fds.items()}
    os.closerange(0, _PARKED)
    for target, source in parked.items():
        os.dup2(source, target, inheritable=True)
    os.closerange(_PARKED, 1024)


def close(fds: Iterable[int]) -> None:
    """Close each of `fds` once, ignoring those already closed."""
    for fd in set(fds):
        with suppress(OSError):
            os.close(fd)


def wait(child: Running, patience: float = TIMEOUT) -> int | None:
    """Wait for `child` and return its status; kill it after the timeout and return None."""
    try:
        return child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(TIMEOUT)
        return None


class Line:
    """The client's side of a connection: reads from `reader` and writes to `writer`."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        while data:
            data = data[os.write(self.writer, data) :]

    def receive(self, limit: int = 65536, patience: float = TIMEOUT) -> bytes:
        """Receive at most `limit` bytes, none at end of file; TimeoutError if nothing arrives."""
        if not select.select([self.reader], [], [], patience)[0]:
            raise TimeoutError(f"nothing came within {patience} seconds")
        try:
            return os.read(self.reader, limit)
        except ConnectionResetError:
            return b""

    def receive_all(self) -> bytes:
        """Receive up to end of file."""
        return b"".join(iter(self.receive, b""))

    def receive_line(self) -> bytes:
        """Receive one line and nothing after it."""
        got = b""
        while not got.endswith(b"\n") and (byte := self.receive(1)):
            got += byte
        return got

    def end(self) -> None:
        """Half-close the connection."""
        if self.writer < 0:
            return
        if stat.S_ISSOCK(os.fstat(self.writer).st_mode):
            with socket.socket(fileno=os.dup(self.writer)) as end, suppress(OSError):
                end.shutdown(socket.SHUT_WR)
        os.close(self.writer)
        self.writer = -1

    def close(self) -> None:
        """Close the connection."""
        close({self.reader, self.writer})
        self.reader = self.writer = -1


def socket_line() -> tuple[Line, int, int]:
    """Return a Line over one socket, and the program's two descriptors for it: to read, to write."""
    near, far = socket.socketpair()
    ours, theirs = near.detach(), far.detach()
    return Line(ours, os.dup(ours)), theirs, os.dup(theirs)


def pipe_line(*, packets: bool = False) -> tuple[Line, int, int]:
    """Return the same over two pipes; with `packets` each write of the program is read separately."""
    their_reader, our_writer = os.pipe()
    our_reader, their_writer = packet_pipe() if packets else os.pipe()
    return Line(our_reader, our_writer), their_reader, their_writer


def packet_pipe() -> tuple[int, int]:
    """Return a pipe in packet mode, which keeps writes separate."""
    return os.pipe2(os.O_DIRECT)


def writes(reader: int) -> list[bytes]:
    """Return the writes to a packet pipe so far."""
    os.set_blocking(reader, False)
    got: list[bytes] = []
    with suppress(BlockingIOError):
        got.extend(iter(lambda: os.read(reader, 65536), b""))
    return got


def fill(writer: int) -> None:
    """Fill a pipe, and leave it blocking or not as it was."""
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
