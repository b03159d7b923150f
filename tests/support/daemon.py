"""A daemon of the Prometheus family, which says on descriptor 2 where it listens."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGSTOP
from types import TracebackType
from typing import Self

from tests.support.waiting import TIMEOUT, until

_LISTENS = re.compile(r'"Listening on" address=(\S+)')


class Daemon:
    """A daemon on a port that the kernel picks; leaving the context kills it.

    address: where it listens, or is to listen
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Be ready to start it; log: a file for what it says."""
        self._command, self._log = command, log
        self._started: subprocess.Popen[bytes] | None = None
        self.address = "127.0.0.1:0"

    @property
    def url(self) -> str:
        """The base of its URLs."""
        return f"http://{self.address}"

    @property
    def said(self) -> str:
        """What it has said since it was started."""
        return self._log.read_text()

    def start(self) -> Self:
        """Start it, on the same port as before, and wait until it serves."""
        with self._log.open("wb") as log:
            command = [*self._command, f"--web.listen-address={self.address}"]
            self._started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: bool(_LISTENS.search(self.said)) or self._has_ended())
        found = _LISTENS.search(self.said)
        assert found, self.said
        self.address = found[1]
        return self

    def hold(self) -> None:
        """Stop it where it stands: its connections stay, and nobody answers."""
        assert self._started
        self._started.send_signal(SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        assert self._started
        self._started.send_signal(SIGCONT)

    def reload(self) -> None:
        """Have it read its configuration again; it does so soon after."""
        assert self._started
        self._started.send_signal(SIGHUP)

    def kill(self) -> None:
        """Kill it; it is nothing where there is none."""
        if self._started:
            self._started.kill()
            self._started.wait(TIMEOUT)
            self._started = None

    def _has_ended(self) -> bool:
        return self._started is None or self._started.poll() is not None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()
