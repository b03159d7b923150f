"""deploy/prometheus looks at the certificates of real servers, by way of a real blackbox exporter."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import authority, scaled_rules
from tests.support.authority import Authority
from tests.support.daemon import Daemon
from tests.support.descriptors import CHECKOUT
from tests.support.programs import need
from tests.support.prometheus_server import PrometheusServer
from tests.support.scraper import read
from tests.support.server import serving
from tests.support.waiting import TIMEOUT

DEPLOY = CHECKOUT / "deploy/prometheus"
RULES = CHECKOUT / "dashboards/rules"
DAY = 86400
EXPIRY, SUCCESS = ("probe_ssl_earliest_cert_expiry", ()), ("probe_success", ())
MODULES: Mapping[str, Mapping[str, str]] = {"pop3s": {}, "pop3_stls": {"UCSPITLS": ""}}
"""What each of them wants of a server."""


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Daemon]:
    """Run Debian's exporter with our modules."""
    (program,) = need("prometheus-blackbox-exporter")
    config = f"--config.file={DEPLOY / 'blackbox.yml'}"
    with Daemon([str(program), config], tmp_path / "blackbox.log") as running:
        yield running


@contextmanager
def pop3(certificates: Authority, module: str) -> Iterator[str]:
    """Run a server that shows the certificate as the module wants it; yield its address."""
    popup = [sys.executable, "-m", "qmail_popup", "pop.example.org", "false"]
    peer = [sys.executable, "-m", "tests.support.ucspi_tls", "127.0.0.1", "0", *popup]
    with serving(peer, {**certificates.environment, **MODULES[module]}) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("module", MODULES)
def test_the_time_that_is_left_is_told(exporter: Daemon, tmp_path: Path, module: str) -> None:
    """Of a certificate whose authority nobody knows, too: two days."""
    with pop3(authority.make(tmp_path), module) as address:
        found = read(f"{exporter.url}/probe?module={module}&target={address}", TIMEOUT)
    assert 1 == found[SUCCESS]
    assert DAY < found[EXPIRY] - time.time() <= 2 * DAY


@pytest.mark.parametrize("module", MODULES)
def test_what_has_run_out_is_told(exporter: Daemon, tmp_path: Path, module: str) -> None:
    """An exporter that refused the certificate would tell nothing of it."""
    certificates = authority.make(tmp_path)
    authority.expire(certificates)
    with pop3(certificates, module) as address:
        found = read(f"{exporter.url}/probe?module={module}&target={address}", TIMEOUT)
    assert 1 == found[SUCCESS]
    assert found[EXPIRY] < time.time()


def test_the_alert_fires_for_both_ports(exporter: Daemon, tmp_path: Path) -> None:
    """By the scrape jobs and the rules as they are shipped, a minute being a second."""
    certificates = authority.make(tmp_path)
    with ExitStack() as stack:
        addresses = [stack.enter_context(pop3(certificates, module)) for module in MODULES]
        rules = [str(scaled_rules.write(file, tmp_path)) for file in sorted(RULES.glob("*.yml"))]
        config = {"scrape_configs": jobs(exporter, addresses), "rule_files": rules}
        prometheus = stack.enter_context(PrometheusServer(tmp_path, config))
        expiring = 'ALERTS{alertname="QmailPopupCertificateExpiring", alertstate="firing"}'
        prometheus.await_number(len(MODULES), f"count({expiring})")
        assert {(address,) for address in addresses} == set(prometheus.values(expiring, "instance"))


def jobs(exporter: Daemon, addresses: list[str]) -> list[dict[str, Any]]:
    """Return the jobs for certificates, at another pace and with these servers, one each."""
    ours = _shipped()
    for job, address in zip(ours, addresses, strict=True):
        del job["file_sd_configs"]
        *_, last = job["relabel_configs"]
        job |= {
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "static_configs": [{"targets": [address]}],
            "relabel_configs": [*job["relabel_configs"][:-1], {**last, "replacement": exporter.address}],
        }
    return ours


FLEETS = {"prometheus/fleet.yml": [{"action": "hashmod"}, {"action": "keep"}], "fleet/scrape.yml": []}
"""Where a fleet's scrapers are told what to scrape, and by which steps each gets its share."""


@pytest.mark.parametrize("config", FLEETS)
def test_a_fleet_looks_at_certificates_as_one_server_does(config: str) -> None:
    """By the same jobs; only the shares are said there, if the scraper does not know them by itself."""
    text = (DEPLOY.parent / config).read_text(encoding="utf-8")
    asked = yaml.safe_load(text.replace("%{INTERVAL}", "15s"))["scrape_configs"]
    ours = [job for job in asked if job["job_name"].startswith("pop3-certificate")]
    shares = FLEETS[config]
    for job in ours:
        steps = job["relabel_configs"]
        assert shares == [{"action": step["action"]} for step in steps[: len(shares)]]
        job["relabel_configs"] = steps[len(shares) :]
    assert _said(_shipped()) == _said(ours)


def _shipped() -> list[dict[str, Any]]:
    text = (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")
    return [
        job
        for job in yaml.safe_load(text)["scrape_configs"]
        if job["job_name"].startswith("pop3-certificate")
    ]


def _said(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the jobs without the files that name the servers."""
    return [{key: job[key] for key in job if key != "file_sd_configs"} for job in jobs]
