"""Exemplars, as a real Prometheus stores them and gives them back."""

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from observability.event import build
from tests.support.programs import need
from tests.support.sidecar import REJECTED, RunningSidecar, deliver, fields
from tests.support.waiting import TIMEOUT, eventually

QUERY = '{__name__=~"qmail_popup_(auth_attempts_total|.*_duration_seconds_bucket)"}'


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[str]:
    """Run one that scrapes target (HOST:PORT) every second; give its URL."""
    (program,) = need("prometheus")
    scrape = {"job_name": "qmail-popup", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    directory.mkdir()
    config = directory / "prometheus.json"  # JSON is YAML
    config.write_text(json.dumps({"scrape_configs": [scrape]}))
    address = f"127.0.0.1:{_free_port()}"
    command = [
        program,
        "--enable-feature=exemplar-storage",
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def exemplars(url: str) -> list[dict[str, Any]]:
    """Return what Prometheus has of them by now, series by series."""
    asked = urllib.parse.urlencode({"query": QUERY, "start": 0, "end": 4_000_000_000})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query_exemplars?{asked}") as answer:  # noqa: S310  our own
            found: list[dict[str, Any]] = json.load(answer)["data"]
            return found
    except URLError:
        return []  # it has only just been started


def test_prometheus_leads_from_a_counter_to_the_trace(tmp_path: Path) -> None:
    """Attempts and both durations carry the trace of the latest session behind them."""
    trace = b"0123456789abcdeffedcba9876543210"
    with RunningSidecar(tmp_path) as sidecar:
        target = sidecar.url.removeprefix("http://").removesuffix("/metrics")
        assert deliver(sidecar.socket, build(fields({**REJECTED, "TRACE": trace})))
        with prometheus(tmp_path / "prometheus", target) as url:
            assert eventually(lambda: len(exemplars(url)) >= 3)
            found = {series["seriesLabels"]["__name__"]: series for series in exemplars(url)}
    expected = {
        "qmail_popup_auth_attempts_total": 1,
        "qmail_popup_session_duration_seconds_bucket": 0.4,
        "qmail_popup_auth_rejected_duration_seconds_bucket": 0.3,
    }
    values = {name: float(series["exemplars"][0]["value"]) for name, series in found.items()}
    assert expected == pytest.approx(values)
    labels = [exemplar["labels"] for series in found.values() for exemplar in series["exemplars"]]
    assert [{"trace_id": trace.decode()}] * 3 == labels
