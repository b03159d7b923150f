"""What stands in deploy/compose.yaml and in the configurations beside it."""

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
    """Return the services by their names, which are their hosts' names for each other."""
    found: dict[str, Yaml] = load("compose.yaml")["services"]
    return found


def targets(name: str) -> list[str]:
    """Return the targets that a file for Prometheus' file_sd_configs names."""
    groups = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return [target for group in groups for target in group["targets"]]
