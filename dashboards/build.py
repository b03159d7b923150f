"""`python -m dashboards.build`: writes the dashboards as JSON for Grafana to import.

Owns the files' names and format. The output is reproducible, byte for byte.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import failures, fleet, telemetry

DASHBOARDS: Mapping[str, Callable[[], Dashboard]] = {
    "qmail-popup-fleet.json": fleet.dashboard,
    "qmail-popup-auth-failures.json": failures.dashboard,
    "qmail-popup-telemetry.json": telemetry.dashboard,
}


def rendered(made: Callable[[], Dashboard]) -> str:
    """Return a dashboard as JSON, its panels numbered in order."""
    encoded: dict[str, Any] = json.loads(JSONEncoder().encode(made().build()))
    for number, panel in enumerate(encoded["panels"], start=1):
        panel["id"] = number
    return json.dumps(encoded, indent=2, sort_keys=True) + "\n"


def write(directory: Path) -> None:
    """Write all dashboards into a directory."""
    for name, made in DASHBOARDS.items():
        (directory / name).write_text(rendered(made))


if __name__ == "__main__":
    write(Path(__file__).parent)
