"""What watches a fleet, real and as it is shipped, on a clock that runs sixty times faster.

Rules, scrape jobs and routes are those of dashboards/ and deploy/; their addresses and waiting times are the
test's. It knows nothing of what the hosts are, or of what will happen to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.support import scaled_rules
from tests.support.alertmanager import Alertmanager, pointed_at
from tests.support.descriptors import CHECKOUT
from tests.support.prometheus_server import PrometheusServer
from tests.support.webhook import Webhook

Targets = Mapping[str, Sequence[str]]
"""Addresses by scrape job, as the shipped configuration names the jobs."""

_RULES = ("recording.yml", "alerts.yml")
# To scale, a scrape would come every quarter of a second; one a second leaves ten to the shortest window.
_PACE = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
_SCRAPES_BEFORE = 3
_KEPT = ("job_name", "honor_labels", "relabel_configs", "metric_relabel_configs")


class Watch(NamedTuple):
    """Prometheus, and what it has told by way of the Alertmanager."""

    prometheus: PrometheusServer
    webhook: Webhook


@contextmanager
def watching(directory: Path, targets: Targets) -> Iterator[Watch]:
    """Watch the targets for as long as the context lasts; when it begins, the rules have been loaded."""
    with ExitStack() as stack:
        webhook = stack.enter_context(Webhook())
        routes = pointed_at(_shipped("deploy/alertmanager/alertmanager.yml"), webhook.url)
        alertmanager = stack.enter_context(Alertmanager(directory, routes))
        config = _scraping(targets, alertmanager.address)
        prometheus = stack.enter_context(PrometheusServer(directory, config))
        _await_scrapes(prometheus, sum(map(len, targets.values())))
        _load_rules(prometheus, config, directory)
        yield Watch(prometheus, webhook)


def _shipped(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((CHECKOUT / path).read_text(encoding="utf-8"))
    return document


def _scraping(targets: Targets, alertmanager: str) -> dict[str, Any]:
    """Return the shipped configuration with these targets in its jobs, and no rules yet."""
    shipped = _shipped("deploy/prometheus/prometheus.yml")
    jobs = {job["job_name"]: job for job in shipped["scrape_configs"]}
    return {
        "global": _PACE,
        "scrape_configs": [_job(jobs[name], addresses) for name, addresses in targets.items()],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
    }


def _job(shipped: Mapping[str, Any], addresses: Sequence[str]) -> dict[str, Any]:
    """Return a scrape job that has its targets and pace from here."""
    kept = {name: value for name, value in shipped.items() if name in _KEPT}
    return {**kept, "static_configs": [{"targets": list(addresses)}]}


def _await_scrapes(prometheus: PrometheusServer, targets: int) -> None:
    """Wait until each target is scraped: Prometheus waits five seconds first, which are minutes here."""
    prometheus.await_number(targets, f"count(count_over_time(up[1m]) >= {_SCRAPES_BEFORE})")


def _load_rules(prometheus: PrometheusServer, config: Mapping[str, Any], directory: Path) -> None:
    files = [scaled_rules.write(CHECKOUT / "dashboards/rules" / name, directory) for name in _RULES]
    prometheus.configure({**config, "rule_files": [str(file) for file in files]})
    prometheus.reload()
