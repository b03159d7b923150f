"""A real Pushgateway and a real Prometheus, on ports chosen by the kernel."""

import json
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.processes import contents
from tests.support.programs import need
from tests.support.prometheus_server import PrometheusServer
from tests.support.scraper import Numbers, read
from tests.support.waiting import TIMEOUT

_PACE = {"scrape_interval": "100ms", "scrape_timeout": "100ms"}


class Pushgateway(Daemon):
    """Debian's Pushgateway, with its own files."""

    def __init__(self, directory: Path, *options: str) -> None:
        """directory: for its files."""
        (program,) = need("prometheus-pushgateway")
        kept = f"--persistence.file={directory / 'pushed'}"
        super().__init__([program, kept, *options], directory / "pushgateway.log")

    def numbers(self) -> Numbers:
        """Return all its samples, including its own metrics."""
        return read(f"{self.url}/metrics", TIMEOUT)

    def families(self, instance: str) -> set[str]:
        """Return the names of the samples in one host's group."""
        return {name for name, labels in self.numbers() if ("instance", instance) in labels}


class Prometheus(PrometheusServer):
    """Debian's Prometheus, scraping one gateway ten times a second, with honor_labels."""

    def __init__(self, directory: Path, gateway: Pushgateway) -> None:
        """directory: for its files."""
        job = {"job_name": "pushgateway", "static_configs": [{"targets": [gateway.address]}]}
        super().__init__(directory, {"global": _PACE, "scrape_configs": [{**job, "honor_labels": True}]})

    def is_scraping(self) -> bool:
        """Whether it has scraped the gateway: the first scrape takes some seconds."""
        return bool(self.query("up == 1"))

    def samples(self, selector: str) -> dict[str, list[float]]:
        """Return the scraped values of each series; selector: a PromQL range such as x[1h]."""
        return {
            json.dumps(series["metric"], sort_keys=True): [float(value) for _, value in series["values"]]
            for series in self.query(selector)
        }


def processes_with(word: str) -> list[int]:
    """Return the pids of processes with `word` among their arguments."""
    return [pid for pid, told in contents("cmdline") if word.encode() in told.split(b"\0")]
