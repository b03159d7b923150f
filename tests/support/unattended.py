"""A host without a sidecar: its popups write events to a spool and start pushers."""

import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from types import TracebackType
from typing import Self

from tests.support.descriptors import CHECKOUT
from tests.support.gateway import Pushgateway
from tests.support.processes import is_gone
from tests.support.scraper import Numbers, counts
from tests.support.waiting import TIMEOUT, until
from tests.support.without import command

INSTANCE = "mx.example.org"
_LOGIN = b"USER bob\r\nPASS secret\r\n"

# The popup starts the pusher next to itself: this wrapper logs the start and shortens the interval.
_WRAPPER = """\
#!/bin/sh
echo $$ >>{starts}
exec {pusher} "$@" --push-interval={interval}
"""


class Unattended:
    """The installed popup, with a pusher of a shorter interval. Leaving the context kills the pusher."""

    def __init__(self, directory: Path, prefix: Path, gateway: str, *, interval: float = 0.5) -> None:
        """directory: for its files; interval: seconds between pushes."""
        self.spool, self.state = directory / "spool", directory / "state.sqlite"
        self._starts = directory / "starts"
        self._starts.touch()
        self.spool.mkdir()
        self.spool.chmod(0o2770)
        self._wrapper = directory / "bin/qmail-popup-sidecar"
        self._program, self._interval = prefix / "bin/qmail-popup-sidecar", interval
        self._wrapper.parent.mkdir()
        (directory / "lib").symlink_to(prefix / "lib")
        self.popup = [str(shutil.copy(prefix / "bin/qmail-popup", self._wrapper.parent))]
        self.gateway = gateway
        self.run_by("")

    def run_by(self, tracer: str) -> None:
        """Run pushers started from now on by a command such as strace."""
        self._start(f"{tracer} {self._program}")

    def run_without(self, *parts: str) -> None:
        """Run them without these parts, see `tests.support.without`."""
        self._start(f"env PYTHONPATH={CHECKOUT} {shlex.join(command(parts, 'observability'))}")

    def _start(self, pusher: str) -> None:
        text = _WRAPPER.format(starts=self._starts, pusher=pusher, interval=self._interval)
        self._wrapper.write_text(text)
        self._wrapper.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of popups."""
        return {
            "QMAIL_POPUP_PUSHGATEWAY": self.gateway,
            "QMAIL_POPUP_SPOOL": str(self.spool),
            "QMAIL_POPUP_STATE": str(self.state),
            "QMAIL_POPUP_INSTANCE": INSTANCE,
        }

    def starts(self) -> list[int]:
        """Return the pids of all pushers started."""
        return [int(pid) for pid in self._starts.read_text().split()]

    def pushers(self) -> list[int]:
        """Return the pids of pushers that still run."""
        return [pid for pid in self.starts() if not is_gone(pid)]

    def sessions(self, count: int, *wrapper: str, subprogram: Sequence[str] = ("/bin/false",)) -> bytes:
        """Run `count` logins at once, and wait for all; return their output on descriptor 2."""
        environ = {"PATH": os.environ["PATH"], **self.environment}
        argv = [*wrapper, *self.popup, "pop.example.org", *subprogram]
        popups = [
            subprocess.Popen(
                argv, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            for _ in range(count)
        ]
        return b"".join(popup.communicate(_LOGIN, timeout=TIMEOUT)[1] for popup in popups)

    def settle(self) -> None:
        """Wait until no pusher runs or is being started: its popup already holds the lock."""
        until(lambda: self._is_free() and not self.pushers())

    def _is_free(self) -> bool:
        """Return whether the pusher lock is free; valid only while no session runs that may take it."""
        with (self.spool / "pusher.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def kill(self) -> None:
        """Kill the pusher, if one runs."""
        for pid in self.pushers():
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()


def attempts(gateway: Pushgateway) -> int:
    """Return the total attempts on the gateway."""
    return total(gateway.numbers(), "auth_attempts_total")


def total(numbers: Numbers, name: str, *labels: str) -> int:
    """Return the sum of a counter over all its labels."""
    return counts(numbers, name, *labels).total()
