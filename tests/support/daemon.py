"""A daemon of the Prometheus family, which logs its address on descriptor 2."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGSTOP
from types import TracebackType
from typing import Self

from tests.support.processes import is_stopped
from tests.support.waiting import TIMEOUT, until

GO_ENVIRON = {"GOGC": "400"}
"""Spares a Go program most garbage collections: its heap may grow to five times what is in use."""

_LISTENS = re.compile(r'"Listening on" address=(\S+)')


class Daemon:
    """A daemon on a port chosen by the kernel; leaving the context kills it.

    address: where it listens, or will listen
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Prepare to start it. log: file for its output."""
        self._command, self._log = command, log
        self._started: subprocess.Popen[bytes] | None = None
        self.address = "127.0.0.1:0"

    @property
    def url(self) -> str:
        """The base of its URLs."""
        return f"http://{self.address}"

    @property
    def said(self) -> str:
        """Its output since it was started."""
        return self._log.read_text()

    def start(self) -> Self:
        """Start it, on the same port as before, and wait until it is ready."""
        with self._log.open("wb") as log:
            command = [*self._command, f"--web.listen-address={self.address}"]
            environ = {**os.environ, **GO_ENVIRON}
            self._started = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: bool(_LISTENS.search(self.said)) or self._has_ended())
        found = _LISTENS.search(self.said)
        assert found, self.said
        self.address = found[1]
        return self

    def hold(self) -> None:
        """Suspend it: its connections stay open, but are not served."""
        assert self._started
        pid = self._started.pid
        self._started.send_signal(SIGSTOP)
        until(lambda: is_stopped(pid))

    def go_on(self) -> None:
        """Send SIGCONT."""
        assert self._started
        self._started.send_signal(SIGCONT)

    def reload(self) -> None:
        """Make it reload its configuration, which takes a moment."""
        assert self._started
        self._started.send_signal(SIGHUP)

    def kill(self) -> None:
        """Kill it, if it runs."""
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
