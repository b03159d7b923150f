"""The trial before a reload: a child runs the program as now installed with --check.

So new code, account, certificates and rules are known to work before the running ones are replaced. The child
gets only descriptors 0, 1 and 2, and one minute.
"""

import os
import signal
import time
from contextlib import suppress

from qmail_popup.listener.options import NAME
from qmail_popup.listener.supervisor import handover

CHECK = "--check"
_SECONDS = 60.0
_MAX_OUTPUT = 65536  # bytes: the capacity of a pipe


class Trial:
    """One trial."""

    def __init__(self) -> None:
        """Start the child; OSError. due: when to kill it; None once killed."""
        self._output, output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
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
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
            )
        except OSError:
            os.close(self._output)
            raise
        finally:
            os.close(output)

    def kill(self) -> None:
        """Kill the child, because it takes too long or the supervisor is stopping."""
        self.due = None
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def ended(self, status: int) -> str:
        """Return why the program cannot start; empty if it can. status: an exit code as in `subprocess`."""
        line = self._last_line()
        if not status:
            return ""
        if status == -signal.SIGKILL and self.due is None:
            return f"the check took longer than {_SECONDS:.0f} s"
        return line or f"the check exited with {status}"

    def _last_line(self) -> str:
        """Return the child's last line on descriptor 2."""
        with open(self._output, "rb", buffering=0) as pipe:
            lines = (pipe.read(_MAX_OUTPUT) or b"").decode(errors="replace").strip().splitlines()
        return "".join(filter(str.isprintable, lines[-1].removeprefix(f"{NAME}: "))) if lines else ""
