"""Debian's CrowdSec with deploy/crowdsec, on a test's own log.

Owns its configuration, and a stand-in for its local API that receives the bans. Does not touch the machine's
own CrowdSec, and connects to no other host.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.background import served
from tests.support.descriptors import CHECKOUT
from tests.support.programs import find
from tests.support.waiting import TIMEOUT

DEPLOY = CHECKOUT / "deploy/crowdsec"
_HUB = Path("/usr/share/crowdsec/hub")
_OTHERS = ("s00-raw/crowdsecurity/syslog-logs.yaml", "s02-enrich/crowdsecurity/dateparse-enrich.yaml")
_LOGIN = {"code": 200, "expire": "2100-01-01T00:00:00Z", "token": "x"}


def banned(directory: Path, lines: bytes, kind: str = "qmail-popup") -> list[str]:
    """Return the addresses that CrowdSec would ban for a log; kind: the log's label in the acquisition.

    Tests do not install the package, because its installation registers the host with an external service.
    """
    program = find("crowdsec")
    if program is None:
        pytest.skip("no crowdsec here")
    log = directory / "log"
    log.write_bytes(lines)
    with _local_api() as (url, alerts):
        config = _configured(directory, url)
        command = [program, "-c", str(config), "-no-api", "-no-capi", "-type", kind, "-dsn", f"file://{log}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert 0 == done.returncode, done.stdout + done.stderr
    return sorted(alert["source"]["value"] for alert in alerts)


def _configured(directory: Path, api: str) -> Path:
    etc = directory / "crowdsec"
    shutil.copytree(DEPLOY, etc)
    shutil.copytree("/etc/crowdsec/patterns", etc / "patterns")
    for other in _OTHERS:
        stage = etc / "parsers" / Path(other).parts[0]
        stage.mkdir(exist_ok=True)
        shutil.copy(_HUB / "parsers" / other, stage)
    (etc / "simulation.yaml").touch()
    (etc / "api.yaml").write_text(f"url: {api}/\nlogin: test\npassword: test\n")
    config = etc / "config.yaml"
    config.write_text(json.dumps(_config(etc)))  # JSON is valid YAML
    return config


def _config(etc: Path) -> dict[str, Any]:
    paths = {
        "config_dir": etc,
        "data_dir": etc,
        "simulation_path": etc / "simulation.yaml",
        "hub_dir": _HUB,
        "index_path": _HUB / ".index.json",
        "notification_dir": etc / "notifications",
        "plugin_dir": etc / "plugins",
    }
    return {
        "common": {"daemonize": False, "log_media": "stdout", "log_level": "info", "working_dir": "."},
        "config_paths": {name: str(path) for name, path in paths.items()},
        "crowdsec_service": {
            "acquisition_path": str(etc / "acquis.d/qmail-popup.yaml"),
            "parser_routines": 1,
        },
        "db_config": {"type": "sqlite", "db_path": str(etc / "crowdsec.db")},
        "api": {"client": {"insecure_skip_verify": False, "credentials_path": str(etc / "api.yaml")}},
        "prometheus": {"enabled": False},
    }


@contextmanager
def _local_api() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve the parts of the local API that CrowdSec uses; yield the URL and the received alerts."""
    alerts: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_alert = self.path.endswith("/alerts")
            if is_alert:
                alerts.extend(json.loads(body))
            answer = json.dumps(["1"] if is_alert else _LOGIN).encode()
            self.send_response(201 if is_alert else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with served(server):
        yield f"http://127.0.0.1:{server.server_port}", alerts
