"""What the rules remember: this hour one, two and seven days ago. No other case lives through a week."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.promtool import RULES, run

HOUR = 60
WEEK = 7 * 24 * HOUR
NOW = WEEK + 3 * HOUR
EVERY = 30
"""Minutes between samples, and between evaluations."""

# An hour's mean is known at its end, and an hour has a half on each side of now.
BACK = {"1d": 23.5 * HOUR, "2d": 47.5 * HOUR, "7d": WEEK - 0.5 * HOUR}

MEANS = (
    "method_protocol_outcome{}:qmail_popup_auth",
    "protocol{}:qmail_popup_sessions",
    "result{}:qmail_popup_tls_handshakes",
)
RECORDED = {
    **{
        f"instance_{mean.format('_back')}:increase10m_avg1h": f"instance_{mean.format('')}:increase10m_avg1h"
        for mean in MEANS
    },
    "instance_back:qmail_popup_auth_failed:attacked": "instance:qmail_popup_auth_failed:spike10m",
}
"""What is remembered, and of what."""


def _rules(directory: Path) -> Path:
    """Write the rules of RECORDED alone to a file: a week of all of them would take minutes."""
    groups = yaml.safe_load((RULES / "recording.yml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"] if rule["record"] in RECORDED]
    assert RECORDED.keys() == {rule["record"] for rule in rules}
    file = directory / "memory.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "memory", "rules": rules}]}), encoding="utf-8")
    return file


def _expected(name: str) -> dict[str, Any]:
    """Return a query, and the minute that each series of the answer remembers."""
    samples = [
        {"labels": f'{name}{{job="mail",back="{back}"}}', "value": NOW - ago} for back, ago in BACK.items()
    ]
    return {"expr": name, "eval_time": f"{NOW}m", "exp_samples": samples}


def test_the_same_hour_of_other_days_is_remembered(tmp_path: Path) -> None:
    """Each value is the minute of its sample, so what is remembered tells from when it is."""
    case = {
        "interval": f"{EVERY}m",
        "input_series": [
            {"series": f'{name}{{job="mail"}}', "values": f"0+{EVERY}x{NOW // EVERY}"}
            for name in RECORDED.values()
        ],
        "promql_expr_test": [_expected(name) for name in RECORDED],
    }
    document = {"rule_files": [str(_rules(tmp_path))], "evaluation_interval": f"{EVERY}m", "tests": [case]}
    file = tmp_path / "case.yml"
    file.write_text(json.dumps(document), encoding="utf-8")
    assert "" == run("test", "rules", file)
