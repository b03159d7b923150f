"""Whether the program, as it is now, could start: asked of a child that runs it with --check.

So new code, the account, certificates and rules are known to be good before anything is given up for them.
The child gets nothing but descriptors 0, 1 and 2, and a minute.
"""

import os
import signal
import time
from contextlib import suppress

from qmail_popup.listener.options import NAME
from qmail_popup.listener.supervisor import handover

CHECK = "--check"
_SECONDS = 60.0
_MAX_SAID = 65536  # bytes, which a pipe holds


class Trial:
    """One child."""

    def __init__(self) -> None:
        """Start it; OSError. due: when it is to be killed; None once it was."""
        self._said, said = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.due: float | None = time.monotonic() + _SECONDS
        try:
            argv = handover.command(CHECK)
            self.pid = os.posix_spawn(
                argv[0],
                argv,
                handover.environment(),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, said, 2),
                ],
            )
        finally:
            os.close(said)

    def kill(self) -> None:
        """End it, because it takes too long or nobody wants to know any more."""
        self.due = None
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def ended(self, status: int) -> str:
        """Return why the program could not start, nothing where it could. status: as Python counts it."""
        said = self._last_line()
        if not status:
            return ""
        if status == -signal.SIGKILL and self.due is None:
            return f"it was not checked within {_SECONDS:.0f} s"
        return said or f"the check ended with {status}"

    def _last_line(self) -> str:
        """Return what it said last on descriptor 2."""
        with open(self._said, "rb", buffering=0) as said:
            lines = (said.read(_MAX_SAID) or b"").decode(errors="replace").strip().splitlines()
        return "".join(filter(str.isprintable, lines[-1].removeprefix(f"{NAME}: "))) if lines else ""
