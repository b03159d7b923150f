"""The fleet's engine on loopback: the run files of deploy/fleet as they are shipped, told where all is.

Three scrapers share the hosts out, two stores hold everything, each has the rules over it, and there is one
Alertmanager. It knows nothing of what the hosts do.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.support.daemon import GO_ENVIRON
from tests.support.descriptors import CHECKOUT
from tests.support.programs import need
from tests.support.waiting import TIMEOUT, until

SCRAPERS, STORES = 3, 2
_SHIPPED = CHECKOUT / "deploy/fleet"


class Paces(NamedTuple):
    """How often things happen, and how old what is seen may be; an operator's are in the run files."""

    scrape: str
    evaluation: str
    latency: str
    lookback: str
    behind: str


class Program:
    """One run file with its environment, to be killed and started again.

    url: where it serves, at an address that was free a moment ago: it cannot tell which one the kernel picked
    """

    def __init__(self, run: Path, log: Path, told: Mapping[str, str], answers: str = "/health") -> None:
        """Be ready to start it; told: its variables, but LISTEN; answers: a path that says when it serves."""
        address = _free_address()
        self.url = f"http://{address}"
        self._run, self._log, self._answers = run, log, self.url + answers
        self._environ = {"PATH": os.environ["PATH"], **GO_ENVIRON, "LISTEN": address, **told}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; `await_ready` waits until it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._run],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def await_ready(self) -> None:
        """Wait until it serves."""
        until(self._is_ready)

    def has_ended(self) -> bool:
        """Tell whether it runs no more."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """Kill it where it stands, with what it has started."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(TIMEOUT)
            self._process = None

    def _is_ready(self) -> bool:
        assert not self.has_ended(), self._log.read_text()
        with suppress(OSError), urllib.request.urlopen(self._answers, timeout=TIMEOUT) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False


@contextmanager
def running(*programs: Program) -> Iterator[None]:
    """Start them all, in any order, and kill them with the context."""
    with ExitStack() as stack:
        for program in programs:
            stack.callback(program.kill)
            program.start()
        for program in programs:
            program.await_ready()
        yield


def stores(directory: Path, paces: Paces) -> list[Program]:
    """Return the stores, not started, with their samples below `directory`."""
    need("victoria-metrics")
    return [
        Program(
            _SHIPPED / "store.run",
            directory / f"store{number}.log",
            {
                "DATA": str(directory / f"store{number}"),
                "INTERVAL": paces.scrape,
                "LATENCY": paces.latency,
            },
        )
        for number in range(STORES)
    ]


class Engine:
    """All of it, as long as the context lasts; scrapers, stores and rules in their order."""

    def __init__(self, directory: Path, rules: Path, alerting: Path, paces: Paces) -> None:
        """Lay it out below `directory`; rules: a directory; alerting: the Alertmanager's configuration."""
        need("vmagent", "vmalert", "prometheus-alertmanager", "curl")
        self._directory, self._paces = directory, paces
        self._configuration = directory / "fleet"
        shutil.copytree(_SHIPPED, self._configuration)
        shutil.rmtree(self._configuration / "hosts")
        (self._configuration / "hosts").mkdir()
        self.stores = stores(directory, paces)
        self.scrapers = [self._scraper(number) for number in range(SCRAPERS)]
        self.alertmanager = self._alertmanager(alerting)
        self.rules = [self._rules(number, rules) for number in range(STORES)]
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self._running.enter_context(running(*self.stores, *self.scrapers, self.alertmanager, *self.rules))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._running.close()

    def scrape(self, groups: list[dict[str, Any]]) -> None:
        """Tell the scrapers of the hosts, as a provisioning tool does: by a file (JSON is YAML)."""
        (self._configuration / "hosts/all.yml").write_text(json.dumps(groups))

    def rule_errors(self, number: int) -> list[str]:
        """Return what went wrong when the rules over a store were last evaluated."""
        groups = fetch(f"{self.rules[number].url}/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert rules
        return [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["lastError"]]

    def evaluated(self, number: int) -> float:
        """Return when the rules over a store were last evaluated, all of them, in seconds since 1970."""
        groups = fetch(f"{self.rules[number].url}/api/v1/rules")["data"]["groups"]
        times = [rule["lastEvaluation"] for group in groups for rule in group["rules"]]
        return min(datetime.fromisoformat(time).timestamp() for time in times)

    def failed_evaluations(self, number: int) -> int:
        """Return how often rules over a store could not be evaluated since they were started."""
        with urllib.request.urlopen(f"{self.rules[number].url}/metrics", timeout=TIMEOUT) as answer:  # noqa: S310
            found = re.search(rb"^vmalert_execution_errors_total (\d+)$", answer.read(), re.MULTILINE)
        assert found
        return int(found[1])

    def _scraper(self, number: int) -> Program:
        told = {
            "MEMBER": str(number),
            "MEMBERS": str(SCRAPERS),
            "STORES": ",".join(f"{store.url}/api/v1/write" for store in self.stores),
            "QUEUE": str(self._directory / f"queue{number}"),
            "INTERVAL": self._paces.scrape,
        }
        return self._program("vmagent", number, told)

    def _rules(self, number: int, rules: Path) -> Program:
        told = {
            "STORE": self.stores[number].url,
            "RULES": f"{rules}/*.yml",
            "ALERTMANAGERS": self.alertmanager.url,
            "EVALUATION": self._paces.evaluation,
            "LOOKBACK": self._paces.lookback,
            "BEHIND": self._paces.behind,
        }
        return self._program("vmalert", number, told)

    def _alertmanager(self, config: Path) -> Program:
        told = {"CONFIG": str(config), "DATA": str(self._directory / "alertmanager")}
        return self._program("alertmanager", 0, told, "/-/ready")

    def _program(self, name: str, number: int, told: Mapping[str, str], answers: str = "/health") -> Program:
        log = self._directory / f"{name}{number}.log"
        return Program(self._configuration / f"{name}.run", log, told, answers)


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
        return f"{host}:{port}"


Vector = dict[frozenset[tuple[str, str]], float]


def ask(store: str, query: str) -> Vector:
    """Return the value of each series now, by its labels; nothing is left out for being too young."""
    words = urllib.parse.urlencode({"query": query, "nocache": "1"})
    found = fetch(f"{store}/api/v1/query?{words}")["data"]["result"]
    return {frozenset(one["metric"].items()): float(one["value"][1]) for one in found}


def fetch(url: str) -> Any:  # noqa: ANN401 - JSON of six programs
    """Return the JSON that a URL answers with."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - our own URL
        return json.load(answer)
