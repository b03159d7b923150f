"""Tests rules with promtool over generated series.

Owns promtool's format: series as text, queries with expected results, and its output.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.descriptors import CHECKOUT
from tests.support.fleet_series import Values
from tests.support.programs import need

RULES = CHECKOUT / "dashboards" / "rules"

GROUPS = [f"qmail-popup{part}" for part in ("-thresholds", "", "-logins", "-sessions", "-telemetry")]
"""The rule groups in evaluation order; by default promtool's order is random."""

# Garbage collection would take two fifths of its time, and free little.
_ENVIRON = {**os.environ, "GOGC": "1000"}

Fired = Iterable[tuple[str, str]]
"""Alerts by name, without the prefix QmailPopup, and instance."""


class Seen(NamedTuple):
    """Exactly the alerts that have fired within the last `window` minutes at minute `at`."""

    at: int
    window: int
    fired: Fired


def run(*arguments: str | Path) -> str:
    """Run promtool; return its output if it reports errors, else an empty string."""
    (promtool,) = need("promtool")
    command = [promtool, *arguments]
    done = subprocess.run(command, env=_ENVIRON, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def fleet_case(
    file: Path, series: Mapping[str, Values | str], seen: Sequence[Seen], pace: tuple[int, int]
) -> str:
    """Test the rules over series, with the test case written to `file`; return the errors.

    pace: minutes between samples, and between evaluations.
    """
    samples, evaluation = pace
    case = {
        "interval": f"{samples}m",
        "input_series": [
            {"series": name, "values": _samples(values, samples)} for name, values in series.items()
        ],
        "promql_expr_test": [_query(one) for one in seen],
    }
    rules = [str(RULES / name) for name in ("recording.yml", "alerts.yml")]
    document = {
        "rule_files": rules,
        "evaluation_interval": f"{evaluation}m",
        "group_eval_order": GROUPS,
        "tests": [case],
    }
    file.write_text(json.dumps(document), encoding="utf-8")  # JSON is valid YAML
    return run("test", "rules", file)


def _samples(values: Values | str, step: int) -> str:
    """Return values in promtool's notation; text is in that already, at its own pace."""
    return values if isinstance(values, str) else " ".join(map(_sample, values[::step]))


def _sample(value: float | None) -> str:
    return "_" if value is None else f"{value:.12g}"


def _query(seen: Seen) -> dict[str, object]:
    firing = f'last_over_time(ALERTS{{alertstate="firing"}}[{seen.window}m])'
    return {
        "expr": f"group by (alertname, instance) ({firing})",
        "eval_time": f"{seen.at}m",
        "exp_samples": [{"labels": _labels(*alert), "value": 1} for alert in seen.fired],
    }


def _labels(name: str, instance: str) -> str:
    host = f', instance="{instance}"' if instance else ""
    return f'{{alertname="QmailPopup{name}"{host}}}'
