"""The shipped rules with scaled durations: ten minutes become ten seconds.

Knows where PromQL and rule files contain durations, not what the rules are about. Numbers are not scaled: a
threshold on events in a window stays the same, so the test must produce them in less time.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FASTER = 60
"""A minute is a second."""

_UNITS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
_PARTS = re.compile(r"(\d+)(ms|[smhdwy])")
# Matches first, to be left unchanged, what may contain a digit and a unit without being a duration: strings,
# comments and names. A name may contain colons but not begin with one, or the 5m of [1h:5m] would be a name.
_TOKENS = re.compile(
    r"""
    ("(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` | \#[^\n]* | [A-Za-z_][\w:]*)
    | (?<![\w.]) ((?:\d+(?:ms|[smhdwy]))+) (?!\w)
    """,
    re.VERBOSE,
)
_DURATIONS = ("for", "keep_firing_for")


def duration(text: str, faster: int = FASTER) -> str:
    """Return a duration such as 1h30m divided by `faster`: in seconds if whole, else in ms."""
    whole = sum(int(count) * _UNITS[unit] for count, unit in _PARTS.findall(text))
    scaled = max(1, round(whole / faster)) if whole else 0
    return f"{scaled}ms" if scaled % 1000 else f"{scaled // 1000}s"


def expression(text: str, faster: int = FASTER) -> str:
    """Return a PromQL expression with ranges, offsets and steps divided by `faster`."""
    return _TOKENS.sub(lambda found: found[1] or duration(found[2], faster), text)


def rules(document: Mapping[str, Any], faster: int = FASTER) -> dict[str, Any]:
    """Return a rule file's contents likewise; labels and annotations stay unchanged."""
    return {"groups": [_group(group, faster) for group in document["groups"]]}


def write(source: Path, directory: Path, faster: int = FASTER) -> Path:
    """Write a scaled rule file below `directory`; return its path."""
    target = directory / source.name
    scaled = rules(yaml.safe_load(source.read_text(encoding="utf-8")), faster)
    target.write_text(yaml.safe_dump(scaled, sort_keys=False), encoding="utf-8")
    return target


def _group(group: Mapping[str, Any], faster: int) -> dict[str, Any]:
    own = {"interval": duration(group["interval"], faster)} if "interval" in group else {}
    return {**group, **own, "rules": [_rule(rule, faster) for rule in group["rules"]]}


def _rule(rule: Mapping[str, Any], faster: int) -> dict[str, Any]:
    waits = {name: duration(rule[name], faster) for name in _DURATIONS if name in rule}
    return {**rule, "expr": expression(rule["expr"], faster), **waits}
