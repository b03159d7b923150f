"""A fork server for sidecars: it has imported what a sidecar needs, and forks one for each request.

Most of a start is imports, so this takes a fraction of its CPU time. Each sidecar is a process with the
arguments, environment, umask and output that a test names, and runs the main function as
`python -m observability` does. The server has a single thread, and knows nothing of a test, so nothing passes
from one sidecar to the next. What is about the start itself starts the program.
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
from functools import cache, partial
from signal import SIGKILL, Signals

from tests.support.descriptors import CHECKOUT
from tests.support.waiting import TIMEOUT

_REQUEST_BYTES = 65536
_MAX_DESCRIPTORS = 1024


class Process:
    """A process of the server, as subprocess.Popen has its own."""

    def __init__(self, argv: Sequence[str], *, environ: Mapping[str, str], stdout: int, stderr: int) -> None:
        """Start it. argv: what follows `python -m observability`; stdout, stderr: descriptors."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps([list(argv), dict(environ), _umask()]).encode()
        with theirs:
            socket.send_fds(_server(), [request], [stdout, stderr, theirs.fileno()])
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
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(SIGKILL)

    def _heard(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._channel], [], [], timeout)[0]:
            self.returncode = int(self._channel.recv(16))
            self._channel.close()
        return self.returncode


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run one to its end, with this process's environment; argv: what follows `python -m observability`."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = Process(argv, environ=os.environ, stdout=out.fileno(), stderr=err.fileno())
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
def _server() -> socket.socket:
    """Return the line to this process's server, which ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command, environ = [sys.executable, "-m", "tests.support.forkserver"], {"PATH": os.environ["PATH"]}
    with theirs:
        server = subprocess.Popen(command, cwd=CHECKOUT, env=environ, stdin=theirs.fileno())
    atexit.register(server.wait)
    atexit.register(ours.close)  # called first
    return ours


Work = Callable[[], int]


class _Server:
    """The server's side: the line on which requests come, and the processes that run."""

    def __init__(self) -> None:
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
        request, fds, _, _ = socket.recv_fds(self._line, _REQUEST_BYTES, 3)
        if not request:
            return lambda: 0
        stdout, stderr, channel = fds
        if pid := os.fork():
            os.write(channel, b"%d" % pid)
            pidfd = os.pidfd_open(pid)
            self._running[pidfd] = pid, channel
            self._poll.register(pidfd, select.POLLIN)
            os.close(stdout)
            os.close(stderr)
            return None
        self._line.detach()  # its number is stdin's from now on
        return _work(request, stdout, stderr)


def _work(request: bytes, stdout: int, stderr: int) -> Work:
    """Make this process what the request says."""
    from observability.__main__ import main

    argv, environ, umask = json.loads(request)
    for number, fd in enumerate((os.open(os.devnull, os.O_RDONLY), stdout, stderr)):
        os.dup2(fd, number)
    os.closerange(3, _MAX_DESCRIPTORS)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environ)
    return partial(main, argv, os.environ)


if __name__ == "__main__":
    import observability.__main__
    import observability.assembly  # noqa: F401  what every sidecar imports

    sys.exit(_Server().serve()())
