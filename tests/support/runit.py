"""A real runsvdir instead of svscan: the same service directories, controlled by runit's `sv`."""

import subprocess
from pathlib import Path
from signal import SIGHUP

from tests.support.programs import need
from tests.support.svscan import Svscan
from tests.support.waiting import TIMEOUT


class Runit(Svscan):
    """Services in a directory, run by runsvdir once started; leaving the context ends all."""

    scanner = "runsvdir"

    def control(self, option: str, name: str) -> None:
        """Run a command such as `sv hup name`."""
        subprocess.run([*need("sv"), option, self.place_of(name)], check=True, stdout=subprocess.DEVNULL)

    def pid(self, name: str) -> int:
        """Return the pid of a service, or of its log for `name/log`; 0 while it is down."""
        command: list[str | Path] = [*need("sv"), "status", self.place_of(name)]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        _, up, pid = told.partition("(pid ")
        return int(pid.split(")")[0]) if told.startswith("run: ") and up else 0

    def end(self, scanner: subprocess.Popen[bytes]) -> None:
        """Stop runsvdir and its services."""
        scanner.send_signal(SIGHUP)
        scanner.wait(TIMEOUT)  # it sends SIGTERM to each runsv without waiting
        self.wait_for_the_last()
