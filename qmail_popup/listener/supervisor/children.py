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
        """Start the process; OSError. control: our end, closed on error; peer: its end, also in `keep`."""
        self._started = time.monotonic()
        try:
            self.pid, self.process = processes.start(task, keep, lambda error: leave_words(peer, error))
        except OSError:
            control.close()
            raise
        self.control, self.serves = control, False

    def failed(self, error: OSError) -> str:
        """Schedule another attempt to start it and return a line to log."""
        self._failures += 1
        return f"cannot start {self.name}: {error.strerror}; trying again in {self._pause()} s"

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
        text = (
            f"{self.name}, process {self.pid}, {how(status)}{self._words()}; restarting in {self._pause()} s"
        )
        os.close(self.process)
        self.pid, self.control, self.serves = 0, None, False
        return text

    def _pause(self) -> float:
        """Set when to start it, and return in how many seconds."""
        pause = _PAUSES[min(self._failures, len(_PAUSES)) - 1] if self._failures else _PAUSES[0]
        self.due = time.monotonic() + pause
        return pause

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
