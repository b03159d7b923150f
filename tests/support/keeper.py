"""Keeps a sidecar: starts, stops, kills and holds it as often as a test wants, always on the same paths."""

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
from tests.support.scraper import Numbers, read
from tests.support.waiting import TIMEOUT, eventually, until

COMMAND = (sys.executable, "-m", "observability")
_SERVES = re.compile(r"metrics are on ([^\s\"]+)")


class Keeper:
    """A sidecar's paths, and the sidecar while there is one; leaving the context ends it.

    command: what starts it; user: uid and gid that it runs as, under umask 077, if not the test's own
    environ: variables that it gets beside PATH; fds: descriptors that it gets; log: its descriptor 1
    """

    def __init__(  # noqa: PLR0913 - a process has that many sides
        self,
        directory: Path,
        command: Sequence[str] = COMMAND,
        *,
        cwd: Path = CHECKOUT,
        user: int | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
        fds: Sequence[int] = (),
    ) -> None:
        """Lay the paths out in `directory`; nothing is started yet."""
        self.socket, self.spool = directory / "run/sidecar.sock", directory / "spool"
        self.state, self.log = directory / "state.sqlite", directory / "sidecar.stdout"
        self._errors = directory / "sidecar.stderr"
        self.command, self._cwd, self._user, self._fds = tuple(command), cwd, user, tuple(fds)
        self._environ = {"PATH": os.environ["PATH"], **environ}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self._errors.touch()
        if user is not None:
            os.chown(directory, user, user)

    @property
    def environment(self) -> dict[str, str]:
        """Return what a popup is told of it."""
        return {"QMAIL_POPUP_SIDECAR": str(self.socket), "QMAIL_POPUP_SPOOL": str(self.spool)}

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The one that was started last."""
        assert self._process
        return self._process

    @property
    def said(self) -> str:
        """What stands on its descriptor 2 since it was started."""
        return self._errors.read_text()

    def make_spool(self) -> None:
        """Make the spool directory, as an operator does who does not wait for the first sidecar."""
        self.spool.mkdir()
        self.spool.chmod(0o2770)

    def start(self, *options: str) -> Self:
        """Start it and wait until it serves."""
        self._process = self._popen(options)
        until(lambda: bool(_SERVES.search(self.said)) or self.ended())
        found = _SERVES.search(self.said)
        assert found, f"the sidecar did not start: {self.said}"
        self.url = found[1]
        return self

    def refused(self, *options: str) -> tuple[int, str]:
        """Start one that is to end by itself; its status, and what it said."""
        with self._popen(options) as process:
            return process.wait(TIMEOUT), self.said

    def reset(self) -> str:
        """Have its state moved aside; where to, as it says itself."""
        command = [*self.command, "--state", str(self.state), "--reset-state"]
        done = subprocess.run(command, cwd=self._cwd, stderr=subprocess.PIPE, text=True, check=True)
        return done.stderr

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it where it stands; it is nothing where there is none."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """End it as a service manager does, also where it is held; its status."""
        self.signal(SIGTERM)
        self.signal(SIGCONT)
        return self.process.wait(TIMEOUT)

    def hold(self) -> None:
        """Stop it where it stands, so that it neither reads nor ends."""
        self.signal(SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self.signal(SIGCONT)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store locked, as somebody does who looks at it with other tools."""
        other = sqlite3.connect(self.state, timeout=TIMEOUT, isolation_level=None)
        try:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")
        finally:
            other.close()

    def waiting(self) -> list[Path]:
        """Return the files of the spool that hold events, or did a moment ago and are renamed by now."""
        with suppress(FileNotFoundError):
            return [path for path in self.spool.iterdir() if path.name != "lost" and not _is_empty(path)]
        return []

    def numbers(self) -> Numbers:
        """Scrape."""
        return read(self.url, TIMEOUT)

    def value(self, name: str, **labels: str) -> float:
        """Scrape one sample; name: without qmail_popup_."""
        wanted = f"qmail_popup_{name}"
        return read(self.url, TIMEOUT, only=wanted)[wanted, tuple(sorted(labels.items()))]

    def reaches(self, expected: float, name: str, **labels: str) -> bool:
        """Whether a sample gets to a value, given time."""
        return eventually(lambda: expected == self.value(name, **labels))

    def drained(self) -> Numbers:
        """Return what it counts once the spool is empty."""
        until(lambda: not self.waiting())
        return self.numbers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()

    def _popen(self, options: Sequence[str]) -> subprocess.Popen[bytes]:
        paths = {"socket": self.socket, "spool": self.spool, "state": self.state}
        named = [f"--{name}={path}" for name, path in paths.items()]
        with self._errors.open("wb") as errors, self.log.open("wb") as log:
            return subprocess.Popen(
                [*self.command, *named, "--listen=127.0.0.1:0", *options],
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
        """Tell whether there is none, or none any more."""
        return self._process is None or self._process.poll() is not None


def _is_empty(path: Path) -> bool:
    with suppress(FileNotFoundError):  # a drain renames it: what it holds is not counted yet
        return not path.stat().st_size
    return False
