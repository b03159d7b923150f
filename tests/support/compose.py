"""The contents of deploy/compose.yaml and of the configurations next to it."""

from typing import Any

import yaml

from tests.support.descriptors import CHECKOUT

DEPLOY = CHECKOUT / "deploy"

Yaml = dict[str, Any]


def load(name: str) -> Yaml:
    """Return a YAML file below deploy/."""
    found: Yaml = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return found


def services() -> dict[str, Yaml]:
    """Return the services by name, which is also their host name."""
    found: dict[str, Yaml] = load("compose.yaml")["services"]
    return found


def targets(name: str) -> list[str]:
    """Return the targets in a file of Prometheus's file_sd_configs."""
    groups = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return [target for group in groups for target in group["targets"]]
