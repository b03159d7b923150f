"""A real svscan with this project's service directories, configured as by an operator.

Changes only what an operator would: the files in env/, and the rules. Knows daemontools and directories, not
POP3.
"""

import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.descriptors import CHECKOUT
from tests.support.processes import opened
from tests.support.programs import need
from tests.support.waiting import TIMEOUT, until

SOURCE = CHECKOUT / "deploy/daemontools"
_LISTENS = "0A"  # TCP_LISTEN, in /proc/net/tcp
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class Svscan:
    """Services in a directory, run by svscan once started; leaving the context ends all."""

    scanner = "svscan"

    def __init__(self, directory: Path) -> None:
        """directory: for its files, accessible to all users."""
        self._directory = directory
        self._services, self._bin = directory / "service", directory / "bin"
        self._logs = directory / "log"
        for made in (self._services, self._bin):
            made.mkdir()
        self._svscan: subprocess.Popen[bytes] | None = None

    def place(self, name: str, env: Mapping[str, str], *, logger: str, rules: str = "") -> None:
        """Copy a service directory and configure it. env: files of env/; logger: account of its log."""
        place = Path(shutil.copytree(SOURCE / name, self._services / name))
        if rules:
            (place / "tcp").write_text(rules)
        log = {"ACCOUNT": logger, "DIRECTORY": str(self._logs / name)}
        for where, variables in ((place, env), (place / "log", log)):
            for variable, value in variables.items():
                (where / "env" / variable).write_text(f"{value}\n")

    def program(self, name: str, text: str) -> None:
        """Add a program in front of PATH."""
        (self._bin / name).write_text(text)
        (self._bin / name).chmod(0o755)

    def start(self) -> Self:
        """Start svscan, and wait until all services are up."""
        (scanner,) = need(self.scanner)
        self._svscan = subprocess.Popen(
            [scanner, self._services],
            env={"PATH": f"{self._bin}:{_PATH}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: all(self.pid(place.name) for place in self._services.iterdir()))
        return self

    def control(self, option: str, name: str) -> None:
        """Run a command such as `svc -d name`."""
        subprocess.run([*need("svc"), option, self._services / name], check=True)

    def pid(self, name: str) -> int:
        """Return the pid of a service, or of its log for `name/log`; 0 while it is down."""
        told = subprocess.run(
            [*need("svstat"), self._services / name], check=True, capture_output=True, text=True
        )
        _, up, pid = told.stdout.partition(": up (pid ")
        return int(pid.split(")")[0]) if up else 0

    def place_of(self, name: str) -> Path:
        """Return the directory of a service."""
        return self._services / name

    def log(self, name: str) -> list[str]:
        """Return the lines in a service's log, without timestamps."""
        with suppress(FileNotFoundError):
            lines = (self._logs / name / "current").read_text(encoding="latin-1").splitlines()
            return [line.split(" ", 1)[1] for line in lines]
        return []

    def port(self, name: str) -> int:
        """Wait until a service listens on a port, and return that."""
        found: list[int] = []

        def listens() -> bool:
            found.extend(_ports(self.pid(name)))
            return bool(found)

        until(listens)
        return found[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._svscan:
            self.end(self._svscan)

    def end(self, scanner: subprocess.Popen[bytes]) -> None:
        """Stop svscan and all services."""
        scanner.terminate()  # first, because it would restart each supervise
        scanner.wait(TIMEOUT)
        for place in self._places():
            self.control("-dx", str(place.relative_to(self._services)))
        self.wait_for_the_last()

    def wait_for_the_last(self) -> None:
        """Wait until every supervise has ended: it writes into the directory until then."""
        until(lambda: not any(_is_supervised(place) for place in self._places()))

    def _places(self) -> list[Path]:
        return [path for place in self._services.iterdir() for path in (place, place / "log")]


def _is_supervised(place: Path) -> bool:
    """Return whether a supervise runs, and so perhaps its service."""
    return subprocess.run([*need("svok"), place], check=False).returncode == 0


def _ports(pid: int) -> list[int]:
    """Return the TCP ports on which a process listens; none if it has ended."""
    with suppress(OSError):
        sockets = {*opened(pid).values()}
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        return [
            int(row[1].split(":")[1], 16)
            for row in rows
            if row[3] == _LISTENS and f"socket:[{row[9]}]" in sockets
        ]
    return []
