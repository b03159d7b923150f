"""A running spawner, and a substitute for its worker that sends what a compromised worker could."""

import os
import resource
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qmail_popup.listener.addresses import Address
from qmail_popup.listener.ipc.control import hand_over
from qmail_popup.listener.ipc.counts import Counts
from qmail_popup.listener.ipc.frames import LOGIN, SLOTS, Frame, head
from qmail_popup.listener.ipc.rights import sent
from qmail_popup.listener.options import Options, parse
from qmail_popup.listener.process import processes
from qmail_popup.listener.rules.reader import Reader, lines
from qmail_popup.listener.spawner.spawner import Spawner
from qmail_popup.listener.variables import SettingsOf

SLOT = 7
FIRST = 100_000_000 * SLOTS
_NOWHERE = Address(b"\0" * 16, 1)


class StandIn:
    """The supervisor and a worker of a real spawner; leaving the context ends the spawner."""

    def __init__(
        self,
        directory: Path,
        subprogram: list[str],
        *more: str,
        environ: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Start a spawner with its log and messages in files in `directory`. more: its options."""
        self._log, self._errors = directory / "log", directory / "errors"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        self._open = {5: os.open(self._log, flags, 0o600), 2: os.open(self._errors, flags, 0o600)}
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        options = parse(
            ["--verbose", "--connections", "3", "--sessions", "1", *more, "pop.example.org", *subprogram]
        )
        self.lines_to_rules = lines(2) if options.rules else []
        self._kept = {theirs.fileno(), *self._open.values()}
        self.pid = self._spawn(options, SettingsOf(options.arguments, environ or {}), theirs)
        self._processes = [self.pid, *([self._read(options.rules)] if options.rules else [])]
        theirs.close()
        self.worker = self._worker()
        self.channel = self._connect(SLOT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for pid in (*self._processes, self.worker):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._processes:
            os.waitpid(pid, 0)
        if self.lines_to_rules:
            self._rules_control.close()
        for line in self.lines_to_rules:
            line.reader.close()
            line.asker.close()
        self.channel.close()
        self._control.close()
        for fd in self._open.values():
            os.close(fd)

    def send(self, frame: Frame, *descriptors: int, name: bytes | None = None) -> None:
        """Send a frame as a worker does, with any number of descriptors."""
        parts = [head(frame), frame.name if name is None else name, frame.secret]
        self.channel.sendmsg(parts, sent(descriptors) if descriptors else [])

    def lines(self) -> list[str]:
        """Return the spawner's lines on descriptor 2 without the first, which says that no session runs."""
        return self._errors.read_text().splitlines()[1:]

    def records(self) -> list[str]:
        """Return the lines of descriptor 5."""
        return self._log.read_text(encoding="latin-1").splitlines()

    def is_ended(self) -> bool:
        """Whether the worker has been killed."""
        return os.waitpid(self.worker, os.WNOHANG)[0] == self.worker

    def replace(self, slot: int = SLOT) -> None:
        """Replace a killed worker by another."""
        self.channel.close()
        self.worker = self._worker()
        self.channel = self._connect(slot)

    def _spawn(self, options: Options, settings_of: SettingsOf, control: socket.socket) -> int:
        """Start a spawner."""
        rules = self.lines_to_rules[0].asker if self.lines_to_rules else None
        column = Counts(1).column(0)

        def spawn() -> None:
            self._place()
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            Spawner(
                options,
                settings_of,
                {},
                control=control,
                column=column,
                open_files=limits,
                log=5,
                rules=rules,
            ).run()

        keep = {*self._kept, *([rules.fileno()] if rules else [])}
        return processes.fork(spawn, keep, lambda _error: None)

    def _read(self, path: bytes) -> int:
        """Start a rules reader."""
        self._rules_control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        readers = [line.reader for line in self.lines_to_rules]

        def read() -> None:
            self._place()
            Reader(path, control, readers).run()

        keep = {*self._kept, control.fileno(), *(reader.fileno() for reader in readers)}
        with control:
            return processes.fork(read, keep, lambda _error: None)

    def _place(self) -> None:
        """Put log and messages on their descriptors."""
        for number, fd in self._open.items():
            os.dup2(fd, number)

    @staticmethod
    def _worker() -> int:
        pid = os.fork()
        if not pid:
            os.closerange(3, 4096)
            signal.pause()
            os._exit(0)
        return pid

    def _connect(self, slot: int) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = os.pidfd_open(self.worker)
        with theirs:
            assert hand_over(self._control, slot, [theirs.fileno(), process])
        os.close(process)
        return ours


def login(
    number: int = FIRST + SLOT,
    *,
    client: Address = _NOWHERE,
    local: Address = _NOWHERE,
    **changes: Any,  # noqa: ANN401  of any field
) -> Frame:
    """Return a login that is valid except for `changes`."""
    now = time.monotonic_ns()
    good = Frame(
        kind=LOGIN,
        word=0,
        number=number,
        trace=b"t" * 16,
        span=b"s" * 8,
        origin=time.time_ns() - now,
        start=now - 2,
        greeted=now - 1,
        reached=now,
        edition=0,
        tls=0,
        suite=0,
        client_ip=client.ip,
        client_port=client.port,
        local_ip=local.ip,
        local_port=local.port,
        name=b"bob",
        secret=bytearray(b"x"),
    )
    return good._replace(**changes)


def client(source: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """Return both ends of a client's connection: the client's, and the one accepted by a worker."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname(), source_address=(source, 0))
        far, _ = server.accept()
    return near, far
