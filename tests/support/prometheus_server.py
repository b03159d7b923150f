"""A real Prometheus with a test's own configuration, and queries to it."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.support.daemon import Daemon
from tests.support.programs import need
from tests.support.waiting import TIMEOUT, eventually

Series = dict[str, Any]
"""As in the HTTP API: `metric`, and `value` (or `values` for a range)."""


class PrometheusServer(Daemon):
    """Debian's Prometheus, with its own files; it stores exemplars.

    It sends an alert when it begins, when it ends, and meanwhile every 15 seconds. After four times that, an
    Alertmanager considers it resolved, which leaves a busy machine a minute.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        """directory: for its files."""
        (program,) = need("prometheus")
        self._config = directory / "prometheus.yml"
        self.configure(config)
        files = (f"--config.file={self._config}", f"--storage.tsdb.path={directory / 'tsdb'}")
        features = ("--rules.alert.resend-delay=15s", "--enable-feature=exemplar-storage")
        super().__init__([program, *files, *features], directory / "prometheus.log")

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write its configuration; call reload() if it runs."""
        self._config.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")

    def query(self, expression: str) -> list[Series]:
        """Return the current result of an expression; empty if the server is not ready yet."""
        with suppress(urllib.error.HTTPError):
            found: list[Series] = self._ask("query", query=expression)["result"]
            return found
        return []

    def values(self, expression: str, *labels: str) -> dict[tuple[object, ...], float]:
        """Return the current value of each series, by the values of `labels` or of all labels."""
        return {
            _key(series["metric"], labels): float(series["value"][1]) for series in self.query(expression)
        }

    def await_number(self, expected: float, expression: str) -> None:
        """Wait until an expression without labels has this value; AssertionError."""
        found: list[object] = []

        def is_expected() -> bool:
            found[:] = [self.values(expression)]
            return found == [{(): expected}]

        assert eventually(is_expected), f"{expression}: not {expected}, but {found}"

    def rule_faults(self) -> list[str]:
        """Return errors in evaluating rules and in templates of alerts since the start."""
        said = [line for line in self.said.splitlines() if 'component="rule manager"' in line]
        return [line for line in said if "level=info" not in line]

    def _ask(self, what: str, **words: str) -> dict[str, Any]:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - our own URL
            told: dict[str, Any] = json.load(answer)["data"]
        return told


def _key(metric: Mapping[str, str], labels: Sequence[str]) -> tuple[object, ...]:
    if labels:
        return tuple(metric.get(label, "") for label in labels)
    return tuple(sorted(metric.items()))
