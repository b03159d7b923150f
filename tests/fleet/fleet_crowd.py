"""Starts the hosts that are not there, and tells how to scrape them and what their logs say."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.descriptors import CHECKOUT
from tests.support.waiting import TIMEOUT


class Crowd:
    """A process that answers for many hosts; leaving the context ends it."""

    def __init__(self, directory: Path, count: int, seconds: float) -> None:
        """Have `count` hosts, each with a login every `seconds` from `begin` on, and logs in `directory`."""
        directory.mkdir()
        self._directory = directory
        self.names = [f"mail{number}.example.org:9110" for number in range(count)]
        told = (str(count), str(seconds), str(directory))
        self._argv = [sys.executable, "-m", "tests.fleet.fleet_hosts", *told]
        self._address = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._argv, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self._address = f"127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._process and self._process.stdin and self._process.stdout:
            self._process.kill()
            self._process.wait(TIMEOUT)
            self._process.stdin.close()
            self._process.stdout.close()

    def groups(self) -> list[dict[str, Any]]:
        """Return the hosts for file_sd: all on one address, each with a path and a name of its own."""
        return [
            {
                "targets": [self._address],
                "labels": {"instance": name, "__metrics_path__": f"/metrics/{number}"},
            }
            for number, name in enumerate(self.names)
        ]

    def begin(self) -> None:
        """Have people log in from now on: what was scraped before is 0."""
        self.attack_first(0)

    def attack_first(self, guesses: float) -> None:
        """Have somebody guess at passwords on the first one, so often a second."""
        assert self._process
        assert self._process.stdin
        print(guesses, file=self._process.stdin, flush=True)

    def fall_silent(self) -> None:
        """Wait until nobody logs in any more; scrapes go on."""
        assert self._process
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        assert self._process.stdout.readline() == "silent\n"

    def records(self) -> dict[str, list[str]]:
        """Return the lines of each host's log."""
        return {
            name: (self._directory / f"{number}.log").read_text(encoding="ascii").splitlines()
            for number, name in enumerate(self.names)
        }
