"""Runs a UCSPI server, which starts a program for each connection, on a port chosen by the kernel.

The server must print its port on descriptor 1 before it serves, as tcpserver -1 and our `ucspi_tls` do.
"""

import os
import socket
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support import descriptors
from tests.support.descriptors import CHECKOUT
from tests.support.processes import contents
from tests.support.programs import need
from tests.support.waiting import until

HOST = "127.0.0.1"
_MARK = "TEST_SERVER"


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    pid: int
    mark: str
    log: Path
    """Output on descriptor 5."""
    errors: Path
    """Output on descriptor 2."""

    def records(self) -> list[str]:
        """Return the lines of descriptor 5 so far, without the parts that differ from run to run."""
        return [line.split(" ", 3)[3] for line in self.log.read_text(encoding="latin-1").splitlines()]

    def settled_records(self) -> list[str]:
        """Return the same after all sessions have ended: a record is written after the last reply."""
        until(lambda: not self.processes())
        return self.records()

    def processes(self) -> list[int]:
        """Return the pids of the running processes that the server has started, directly or not."""
        wanted = f"{_MARK}={self.mark}".encode()
        return [pid for pid, told in contents("environ") if pid != self.pid and wanted in told.split(b"\0")]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def tcpserver(*program: str, at_once: int = 40, host: str = HOST) -> list[str]:
    """Return the command line of a tcpserver without DNS and ident lookups."""
    (path,) = need("tcpserver")
    return [str(path), "-1", "-RHl", "localhost", "-c", str(at_once), "-b", "512", host, "0", *program]


@contextmanager
def serving(argv: Sequence[str], env: Mapping[str, str], *, cwd: Path = CHECKOUT) -> Iterator[Server]:
    """Run the server while the context lasts; then also end the sessions that it started."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="server-") as scratch:
        log, errors = (Path(scratch, name) for name in ("log", "errors"))
        fds, reader = _descriptors(log, errors)
        child = descriptors.start(argv, fds, env={"PATH": os.environ["PATH"], _MARK: mark, **env}, cwd=cwd)
        descriptors.close(fds.values())
        server = None
        try:
            server = Server(_port(reader), child.pid, mark, log, errors)
            yield server
        finally:
            child.terminate()
            descriptors.wait(child)
            _end(server.processes() if server is not None else [])


def _descriptors(log: Path, errors: Path) -> tuple[dict[int, int], int]:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    reader, writer = os.pipe()
    fds = {
        0: os.open("/dev/null", os.O_RDONLY),
        1: writer,
        2: os.open(errors, flags, 0o600),
        5: os.open(log, flags, 0o600),
    }
    return fds, reader


def _port(reader: int) -> int:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(reader, 1)
        if not byte:
            raise RuntimeError("the server did not start")
        line += byte
    os.close(reader)
    return int(line)


def _end(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
