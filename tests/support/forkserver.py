"""A fork server for each of our daemons: it has imported what that needs, and forks one for each request.

Most of a start is imports, so this takes a fraction of its CPU time. Each daemon is a process with the
arguments, environment, umask and descriptors that a test names, and runs the main function as `python -m`
does. The server has a single thread, and knows nothing of a test, so nothing passes from one process to the
next. What is about the start itself starts the program.
"""

import atexit
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from signal import SIGKILL, SIGTERM, Signals

from tests.support.descriptors import CHECKOUT, place
from tests.support.waiting import TIMEOUT

SIDECAR, LISTENER = "observability", "qmail_popup.listener"

_IMPORTED = {SIDECAR: ("observability.assembly",), LISTENER: ()}
"""What each imports as it starts, in addition to its `__main__`."""
_REQUEST_BYTES = 65536
_MAX_DESCRIPTORS = 8  # of a request


class Process:
    """A process of the server, as subprocess.Popen has its own."""

    def __init__(
        self, program: str, argv: Sequence[str], *, environ: Mapping[str, str], fds: Mapping[int, int]
    ) -> None:
        """Start it. argv: what follows `python -m program`; fds: number there → number here."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps([list(argv), dict(environ), _umask(), list(fds)]).encode()
        with theirs:
            socket.send_fds(_server(program), [request], [*fds.values(), theirs.fileno()])
        self.pid = int(self._channel.recv(16))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its status, if it has ended."""
        return self._heard(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its status, negative for a signal."""
        status = self._heard(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("observability", timeout or 0)
        return status

    def send_signal(self, number: Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # ended, and about to be reported
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM, unless it has ended."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(SIGKILL)

    def _heard(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._channel], [], [], timeout)[0]:
            self.returncode = int(self._channel.recv(16))
            self._channel.close()
        return self.returncode


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a sidecar to its end, with this process's environment; argv: its options."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = Process(SIDECAR, argv, environ=os.environ, fds={1: out.fileno(), 2: err.fileno()})
        status = process.wait(TIMEOUT)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(argv, status, out.read(), err.read())


def _umask() -> int:
    """Return this process's umask, which cannot be read without setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


@cache
def _server(program: str) -> socket.socket:
    """Return the line to this process's server of a program, which ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command, environ = [sys.executable, "-m", __name__, program], {"PATH": os.environ["PATH"]}
    with theirs:
        server = subprocess.Popen(command, cwd=CHECKOUT, env=environ, stdin=theirs.fileno())
    atexit.register(server.wait)
    atexit.register(ours.close)  # called first
    return ours


Work = Callable[[], int]


class _Server:
    """The server's side: the line on which requests come, and the processes that run."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._line = socket.socket(fileno=0)
        self._running: dict[int, tuple[int, int]] = {}  # pid and channel, by pidfd
        self._poll = select.poll()
        self._poll.register(self._line, select.POLLIN)

    def serve(self) -> Work:
        """Fork until the line ends; return what is to be done in this process."""
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._running:
                    self._report(fd)
                elif work := self._begin():
                    return work

    def _report(self, pidfd: int) -> None:
        """Report the status of a process that has ended."""
        pid, channel = self._running.pop(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._poll.unregister(pidfd)
        os.write(channel, b"%d" % status)
        os.close(channel)
        os.close(pidfd)

    def _begin(self) -> Work | None:
        """Fork for one request; return what is to be done, if anything."""
        request, received, _, _ = socket.recv_fds(self._line, _REQUEST_BYTES, _MAX_DESCRIPTORS)
        if not request:
            return lambda: 0
        *fds, channel = received
        if pid := os.fork():
            os.write(channel, b"%d" % pid)
            pidfd = os.pidfd_open(pid)
            self._running[pidfd] = pid, channel
            self._poll.register(pidfd, select.POLLIN)
            for fd in fds:
                os.close(fd)
            return None
        self._line.detach()  # its number is stdin's from now on
        return _work(self._program, request, fds)


def _work(program: str, request: bytes, fds: Sequence[int]) -> Work:
    """Make this process what the request says."""
    argv, environ, umask, numbers = json.loads(request)
    place(dict(zip(numbers, fds, strict=True)))
    if 0 not in numbers:
        os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)  # noqa: FBT003  its only argument
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environ)
    module = import_module(f"{program}.__main__")
    sys.argv = [str(module.__file__), *argv]
    sys.orig_argv = [sys.executable, "-m", program, *argv]
    return partial(module.main, argv, os.environb if program == LISTENER else os.environ)


def _imported(program: str) -> str:
    """Import what a program needs; return its name."""
    for name in (f"{program}.__main__", *_IMPORTED[program]):
        import_module(name)
    return program


if __name__ == "__main__":
    sys.exit(_Server(_imported(sys.argv[1])).serve()())
