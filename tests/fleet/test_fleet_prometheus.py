"""The fleet's scrapers as Prometheus servers: deploy/prometheus/fleet.yml in agent mode, with real stores."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.fleet_crowd import Crowd
from tests.fleet.fleet_engine import Paces, ask, fetch, running, stores
from tests.support.daemon import Daemon
from tests.support.descriptors import CHECKOUT
from tests.support.programs import need
from tests.support.waiting import until

_CONFIG = CHECKOUT / "deploy/prometheus/fleet.yml"
_SHARES = ("[01]", "[12]", "[20]")
# Nobody is there; who would scrape them is what is asked.
_HOSTS = [f"127.0.1.{number}:9110" for number in range(1, 31)]
_PACES = Paces(scrape="1s", evaluation="1s", latency="1s", lookback="5s", behind="5s")


class Agent(Daemon):
    """One of the servers; directory: for its files."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        """Be ready to start it."""
        directory.mkdir()
        (program,) = need("prometheus")
        file = directory / "fleet.yml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        agent = ("--enable-feature=agent", f"--storage.agent.path={directory / 'agent'}")
        super().__init__([program, *agent, f"--config.file={file}"], directory / "log")

    def targets(self) -> list[str]:
        """Return which hosts it scrapes."""
        return [
            target["labels"]["instance"]
            for target in fetch(f"{self.url}/api/v1/targets")["data"]["activeTargets"]
        ]


def _config(share: str, groups: list[dict[str, Any]], urls: list[str]) -> dict[str, Any]:
    """Return the shipped configuration with another share, and with hosts and stores that are here."""
    config: dict[str, Any] = yaml.safe_load(_CONFIG.read_text(encoding="utf-8"))
    job = config["scrape_configs"][0]
    del job["dns_sd_configs"], config["scrape_configs"][1:]
    job["static_configs"], job["relabel_configs"][1]["regex"] = groups, share
    config["global"]["scrape_interval"] = _PACES.scrape
    assert len(urls) == len(config["remote_write"])
    for remote, url in zip(config["remote_write"], urls, strict=True):
        remote["url"] = f"{url}/api/v1/write"
    return config


@pytest.fixture
def urls(tmp_path: Path) -> Iterator[list[str]]:
    """Return the URLs of two stores."""
    made = stores(tmp_path, _PACES)
    with running(*made):
        yield [store.url for store in made]


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    """Return a host that answers."""
    with Crowd(tmp_path / "crowd", 1, 0.2) as crowd:
        crowd.begin()
        yield crowd


@pytest.fixture
def agents(tmp_path: Path, crowd: Crowd, urls: list[str]) -> Iterator[list[Agent]]:
    """Return the three servers, each with its share."""
    groups = [*crowd.groups(), {"targets": _HOSTS}]
    with ExitStack() as stack:
        yield [
            stack.enter_context(Agent(tmp_path / f"agent{number}", _config(share, groups, urls)))
            for number, share in enumerate(_SHARES)
        ]


@pytest.mark.parametrize("mode", [(), ("--agent",)], ids=["server", "agent"])
def test_the_configuration_is_one(mode: tuple[str, ...]) -> None:
    """As promtool sees it, for a Prometheus that keeps samples and for one that only hands them on."""
    (promtool,) = need("promtool")
    done = subprocess.run([promtool, "check", "config", *mode, _CONFIG], capture_output=True, check=False)
    assert (0, b"") == (done.returncode, done.stderr)


def test_two_servers_scrape_each_host_and_both_stores_have_it(
    agents: list[Agent], crowd: Crowd, urls: list[str]
) -> None:
    """Each of three servers has its part of the hosts, and what it sees is in each store once."""
    hosts = [*crowd.names, *_HOSTS]
    until(lambda: all(agent.targets() for agent in agents))
    assert dict.fromkeys(hosts, 2) == Counter(host for agent in agents for host in agent.targets())
    assert [True] * len(agents) == [len(agent.targets()) < len(hosts) for agent in agents]
    until(lambda: bool(crowd.records()[crowd.names[0]]))
    crowd.fall_silent()
    wanted = {frozenset[tuple[str, str]](): float(len(crowd.records()[crowd.names[0]]))}
    for url in urls:
        until(
            lambda url=url: wanted == ask(url, "sum(qmail_popup_auth_attempts_total)"),  # type: ignore[misc]
        )
