"""The supervisor's children: started, observed, and restarted after they end.

Each child has one socket to its parent, `control`, on which it reports that it is ready or why it crashed.
"""

import os
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from qmail_popup.listener.ipc.control import MAX_WORDS, SERVES, leave_words
from qmail_popup.listener.process import processes

_PAUSES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # seconds until a restart, by failures in a row
_STEADY_SECONDS = 60.0  # a child that ran this long starts at the first pause again


class Child:
    """A process that must run."""

    def __init__(self, name: str) -> None:
        """name: for log lines."""
        self.name = name
        self.pid = 0  # 0: not running
        self.process = -1  # a pidfd(2)
        self.control: socket.socket | None = None
        self.serves = False
        self.due = 0.0
        self._started = 0.0
        self._failures = 0

    def fork(
        self, control: socket.socket, peer: socket.socket, task: Callable[[], None], keep: Collection[int]
    ) -> None:
        """Start the process. control: our end; peer: its end, which is in `keep`."""
        self.control, self.serves = control, False
        self._started = time.monotonic()
        self.pid = processes.fork(task, keep, lambda error: leave_words(peer, error))
        self.process = os.pidfd_open(self.pid)

    def listen(self) -> None:
        """Check whether it has reported that it is ready."""
        if self.control and not self.serves:
            with suppress(OSError):
                self.serves = self.control.recv(MAX_WORDS, socket.MSG_PEEK | socket.MSG_DONTWAIT) == SERVES
            if self.serves:
                self.control.recv(MAX_WORDS)

    def ended(self, status: int) -> str:
        """Schedule the restart and return a line to log. status: an exit code as in `subprocess`."""
        now = time.monotonic()
        self._failures = 0 if now - self._started > _STEADY_SECONDS else self._failures + 1
        pause = _PAUSES[min(self._failures, len(_PAUSES)) - 1] if self._failures else _PAUSES[0]
        text = f"{self.name}, process {self.pid}, {how(status)}{self._words()}; restarting in {pause} s"
        os.close(self.process)
        self.pid, self.control, self.serves, self.due = 0, None, False, now + pause
        return text

    def _words(self) -> str:
        """Return why it crashed and close its socket; a compromised worker may have sent any text."""
        self.listen()
        if self.control is None:
            return ""
        with self.control, suppress(OSError):
            words = self.control.recv(MAX_WORDS, socket.MSG_DONTWAIT).decode(errors="replace")
            return f" ({words})" if words.isprintable() and words else ""
        return ""


def how(status: int) -> str:
    """Describe an exit code."""
    return f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
