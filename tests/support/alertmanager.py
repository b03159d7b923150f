"""A real Alertmanager with the shipped configuration's routes, but our own receiver and scaled intervals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.daemon import Daemon
from tests.support.programs import need
from tests.support.scaled_rules import FASTER, duration

_WAITS = ("group_wait", "group_interval", "repeat_interval")


class Alertmanager(Daemon):
    """Debian's Alertmanager, without a cluster and with its own files."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        """directory: for its files."""
        (program,) = need("prometheus-alertmanager")
        file = directory / "alertmanager.yml"
        file.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        files = (f"--config.file={file}", f"--storage.path={directory / 'alertmanager'}")
        super().__init__([program, *files, "--cluster.listen-address="], directory / "alertmanager.log")


def pointed_at(config: Mapping[str, Any], url: str, faster: int = FASTER) -> dict[str, Any]:
    """Return the configuration with the webhook at `url` as every receiver, and shorter intervals."""
    receivers = [
        {"name": receiver["name"], "webhook_configs": [{"url": url, "send_resolved": True}]}
        for receiver in config["receivers"]
    ]
    return {**config, "route": _route(config["route"], faster), "receivers": receivers}


def _route(route: Mapping[str, Any], faster: int) -> dict[str, Any]:
    waits = {name: duration(route[name], faster) for name in _WAITS if name in route}
    return {**route, **waits, "routes": [_route(below, faster) for below in route.get("routes", ())]}
