"""Starts, stops, kills and suspends a sidecar as often as a test needs, always with the same paths."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM, Signals
from types import MappingProxyType, TracebackType
from typing import Self

from tests.support.descriptors import CHECKOUT
from tests.support.forkserver import SIDECAR, Process
from tests.support.processes import is_stopped
from tests.support.scraper import Numbers, read
from tests.support.waiting import TIMEOUT, eventually, until

COMMAND = (sys.executable, "-m", "observability")
_SERVES = re.compile(r"metrics are on ([^\s\"]+)")


class Keeper:
    """A sidecar's paths, and its process while it runs; leaving the context ends it.

    command: to start it; user: uid and gid to run as, with umask 077, if not the test's own
    environ: its variables in addition to PATH; fds: its descriptors; log: its descriptor 1
    """

    def __init__(  # noqa: PLR0913  everything that a process inherits
        self,
        directory: Path,
        command: Sequence[str] = COMMAND,
        *,
        cwd: Path = CHECKOUT,
        user: int | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
        fds: Sequence[int] = (),
    ) -> None:
        """Choose paths in `directory`; starts nothing yet."""
        self.socket, self.spool = directory / "run/sidecar.sock", directory / "spool"
        self.state, self.log = directory / "state.sqlite", directory / "sidecar.stdout"
        self._errors = directory / "sidecar.stderr"
        self.command, self._cwd, self._user, self._fds = tuple(command), cwd, user, tuple(fds)
        self._environ = {"PATH": os.environ["PATH"], **environ}
        self._process: subprocess.Popen[bytes] | Process | None = None
        # Benchmarks, which pytest does not run, measure the program itself.
        self._may_fork = "PYTEST_CURRENT_TEST" in os.environ and not fds and user is None and cwd == CHECKOUT
        self.url = ""
        self._errors.touch()
        if user is not None:
            os.chown(directory, user, user)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of popups that use it."""
        return {"QMAIL_POPUP_SIDECAR": str(self.socket), "QMAIL_POPUP_SPOOL": str(self.spool)}

    @property
    def process(self) -> subprocess.Popen[bytes] | Process:
        """The process started last."""
        assert self._process
        return self._process

    @property
    def said(self) -> str:
        """Its output on descriptor 2 since it was started."""
        return self._errors.read_text()

    def make_spool(self) -> None:
        """Create the spool directory, as an operator may do before the first sidecar runs."""
        self.spool.mkdir()
        self.spool.chmod(0o2770)

    def start(self, *options: str) -> Self:
        """Start it and wait until it is ready."""
        self._process = self._started(options)
        until(lambda: bool(_SERVES.search(self.said)) or self.ended())
        found = _SERVES.search(self.said)
        assert found, f"the sidecar did not start: {self.said}"
        self.url = found[1]
        return self

    def refused(self, *options: str) -> tuple[int, str]:
        """Start one that should exit by itself; return its status and output."""
        self._process = self._started(options)
        return self._process.wait(TIMEOUT), self.said

    def reset(self) -> str:
        """Move its state aside by --reset-state; return the new name from its output."""
        command = [*self.command, "--state", str(self.state), "--reset-state"]
        done = subprocess.run(command, cwd=self._cwd, stderr=subprocess.PIPE, text=True, check=True)
        return done.stderr

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """Stop it as a service manager does, even if suspended; return its status."""
        self.signal(SIGTERM)
        self.signal(SIGCONT)
        return self.process.wait(TIMEOUT)

    def hold(self) -> None:
        """Suspend it, so that it neither reads nor exits."""
        self.signal(SIGSTOP)
        until(lambda: is_stopped(self.process.pid))

    def go_on(self) -> None:
        """Resume it."""
        self.signal(SIGCONT)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the store, as other tools may do that read it."""
        other = sqlite3.connect(self.state, timeout=TIMEOUT, isolation_level=None)
        try:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")
        finally:
            other.close()

    def waiting(self) -> list[Path]:
        """Return the spooled files with events, including files that have just been renamed."""
        with suppress(FileNotFoundError):
            return [path for path in self.spool.iterdir() if path.name != "lost" and not _is_empty(path)]
        return []

    def numbers(self) -> Numbers:
        """Scrape it."""
        return read(self.url, TIMEOUT)

    def value(self, name: str, **labels: str) -> float:
        """Scrape one sample; name: without qmail_popup_."""
        wanted = f"qmail_popup_{name}"
        return read(self.url, TIMEOUT, only=wanted)[wanted, tuple(sorted(labels.items()))]

    def reaches(self, expected: float, name: str, **labels: str) -> bool:
        """Return whether a sample reaches a value in time."""
        return eventually(lambda: expected == self.value(name, **labels))

    def drained(self) -> Numbers:
        """Wait until the spool is empty, then scrape."""
        until(lambda: not self.waiting())
        return self.numbers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()

    def _started(self, options: Sequence[str]) -> subprocess.Popen[bytes] | Process:
        paths = {"socket": self.socket, "spool": self.spool, "state": self.state}
        named = [f"--{name}={path}" for name, path in paths.items()]
        argv = [*named, "--listen=127.0.0.1:0", *options]
        with self._errors.open("wb") as errors, self.log.open("wb") as log:
            if self._may_fork and self.command == COMMAND:
                fds = {1: log.fileno(), 2: errors.fileno()}
                return Process(SIDECAR, argv, environ=self._environ, fds=fds)
            return subprocess.Popen(
                [*self.command, *argv],
                cwd=self._cwd,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                pass_fds=self._fds,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else (),
                umask=-1 if self._user is None else 0o077,
            )

    def ended(self) -> bool:
        """Return whether it does not run."""
        return self._process is None or self._process.poll() is not None


def _is_empty(path: Path) -> bool:
    with suppress(FileNotFoundError):  # renamed by a drain: its events are not counted yet
        return not path.stat().st_size
    return False
