"""One popup without a server: a socket as its network, a pipe as its log, a file as descriptor 2."""

import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Self

from tests.support import descriptors
from tests.support.descriptors import CHECKOUT, Environment, packet_pipe, socket_line
from tests.support.waiting import TIMEOUT

HOST = "pop.example.org"
LOGIN = b"USER bob\r\nPASS secret\r\n"
ACCEPTS, REFUSES = ("/bin/true",), ("/bin/false",)
"""The smallest real subprograms; they do not read descriptor 3."""


def shell(script: str) -> tuple[str, ...]:
    """Return a subprogram that runs `script`."""
    return ("/bin/sh", "-c", script)


class Popup:
    """A running popup; leaving the context ends it and closes its descriptors."""

    def __init__(  # noqa: PLR0913  everything that a process inherits
        self,
        command: Sequence[str],
        subprogram: Sequence[str | bytes] = ACCEPTS,
        *,
        host: str = HOST,
        env: Environment | None = None,
        fds: Mapping[int, int | None] | None = None,
        cwd: Path = CHECKOUT,
        ignore: Collection[Signals] = (),
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Start it; `fds` replaces the usual descriptors, None closes one."""
        self.line, *network = socket_line()
        self.log, log_writer = packet_pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the rest
        usual = {0: network[0], 1: network[1], 2: self._errors.fileno(), 5: log_writer}
        placed = {number: fd for number, fd in {**usual, **(fds or {})}.items() if fd is not None}
        bare = {"PATH": os.environ["PATH"]}
        self.process = descriptors.start(
            [*command, host, *subprogram],
            placed,
            env=bare if env is None else env,
            cwd=cwd,
            ignore=ignore,
            prepare=prepare,
        )
        descriptors.close({*network, log_writer})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        descriptors.wait(self.process, 0)
        self.line.close()
        descriptors.close({self.log})
        self._errors.close()

    def talk(self, said: bytes) -> bytes:
        """Send everything at once, half-close, and return everything received."""
        with suppress(BrokenPipeError):  # it has exited, but its output can still be read
            self.line.send(said)
        self.line.end()
        return self.line.receive_all()

    def status(self, patience: float = TIMEOUT) -> int | None:
        """Wait for its end and return its status; None if it had to be killed."""
        return descriptors.wait(self.process, patience)

    def records(self) -> list[bytes]:
        """Return its writes to the log so far."""
        return descriptors.writes(self.log)

    def errors(self) -> bytes:
        """Return what it has written to descriptor 2."""
        return os.pread(self._errors.fileno(), 65536, 0)

    def record(self, result: str, *, protocol: str = "POP3", name: str = "bob") -> bytes:
        """Return the expected record."""
        who = f"S:unknown:unknown ?~ '{name}'"
        return f"qmail-popup: pid {self.process.pid} {result}::AUTH::User P:{protocol} {who}\n".encode()
