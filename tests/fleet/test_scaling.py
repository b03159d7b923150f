"""The faster clock: every duration of a rule is divided, and nothing else is touched."""

from pathlib import Path

import pytest
import yaml

from tests.support.scaled_rules import duration, expression, rules, write

_FILE = """\
groups:
  - name: example
    interval: 30s
    rules:
      - record: job:example:rate10m
        expr: rate(example[10m])  # over 10m
        labels: {window: 10m}
      - alert: Example
        expr: job:example:rate10m > 5
        for: 5m
        keep_firing_for: 1h
        labels: {severity: warning}
        annotations: {summary: "more than 5 in 10m"}
"""
_SCALED = {
    "groups": [
        {
            "name": "example",
            "interval": "500ms",
            "rules": [
                {
                    "record": "job:example:rate10m",
                    "expr": "rate(example[10s])",
                    "labels": {"window": "10m"},
                },
                {
                    "alert": "Example",
                    "expr": "job:example:rate10m > 5",
                    "for": "5s",
                    "keep_firing_for": "60s",
                    "labels": {"severity": "warning"},
                    "annotations": {"summary": "more than 5 in 10m"},
                },
            ],
        }
    ]
}


@pytest.mark.parametrize(
    ("shipped", "scaled"),
    [("10m", "10s"), ("1d", "1440s"), ("1w", "10080s"), ("1h30m", "90s"), ("15s", "250ms"), ("0s", "0s")],
)
def test_a_duration_is_divided(shipped: str, scaled: str) -> None:
    """Whole seconds stay readable, and what is less is told in milliseconds."""
    assert scaled == duration(shipped)


def test_the_least_duration_is_not_nothing() -> None:
    """A range of no length would be an error."""
    assert "1ms" == duration("10ms")


@pytest.mark.parametrize(
    ("shipped", "scaled"),
    [
        ("rate(x[10m]) > 3", "rate(x[10s]) > 3"),
        ("x offset 1d", "x offset 1440s"),
        ("x offset -1d", "x offset -1440s"),
        ("avg_over_time((a / b)[2h:1m] offset 30m)", "avg_over_time((a / b)[120s:1s] offset 30s)"),
        ("max_over_time(x[2h:])", "max_over_time(x[120s:])"),
        ("x[10m]offset 1d", "x[10s]offset 1440s"),
    ],
)
def test_ranges_offsets_and_steps_are_divided(shipped: str, scaled: str) -> None:
    """Wherever PromQL takes a duration."""
    assert scaled == expression(shipped)


@pytest.mark.parametrize(
    "text",
    [
        "instance:failures:rate10m > 5",
        "x{window=\"10m\", name=~`5m|\\d+h`, other='1d'}",
        r'x{said="he said \"10m\""}',
        "x > 1e5 and y < 600 or z == 0x5d and w > 2.5",
        "x # over the last 10m\n> 5",
        "clamp_max(x1m, 10)",
    ],
)
def test_what_only_looks_like_a_duration_stays(text: str) -> None:
    """Names, strings, comments and numbers."""
    assert text == expression(text)


def test_a_rule_file_keeps_all_but_its_durations() -> None:
    """Waits and intervals are divided too; labels and annotations are not."""
    assert _SCALED == rules(yaml.safe_load(_FILE))


def test_a_rule_file_is_written_under_its_own_name(tmp_path: Path) -> None:
    """As Prometheus reads it."""
    source = tmp_path / "shipped" / "example.yml"
    source.parent.mkdir()
    source.write_text(_FILE)
    written = write(source, tmp_path)
    assert tmp_path / "example.yml" == written
    assert _SCALED == yaml.safe_load(written.read_text())
