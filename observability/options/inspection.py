"""The options that inspect a sidecar and serve nothing: --status and --check-config.

Owns their names, their values, and how they combine; settings.py merges them with the others.
"""

import argparse
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

MEASURES = ("failed_share", "sessions", "age_seconds", "spool_bytes")
"""The values that a threshold may be set for."""

Threshold = tuple[str, float]


class Inspection(NamedTuple):
    """What the operator wants to see; thresholds turn it into a monitoring plugin."""

    status: bool = False
    watch: bool = False
    json: bool = False
    warning: Sequence[Threshold] = ()
    critical: Sequence[Threshold] = ()
    check_config: bool = False


def threshold(text: str) -> Threshold:
    """Parse NAME=NUMBER."""
    name, _, number = text.partition("=")
    if name not in MEASURES:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER with a NAME of {', '.join(MEASURES)}")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: {number!r} is not a number, 0 or greater")
    return name, value


def _threshold(text: str) -> Mapping[str, Any]:
    return {"metavar": "NAME=NUMBER", "type": threshold, "action": "append", "help": text}


def _flag(text: str) -> Mapping[str, Any]:
    return {"action": "store_true", "help": text}


OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "--status": _flag("show the state of the running sidecar, or of its store if none answers, and exit"),
        "--watch": _flag("with --status, refresh every two seconds"),
        "--json": _flag("with --status, print JSON"),
        "--warning": _threshold(
            f"with --status, exit with 1 if NAME exceeds NUMBER; NAME: {', '.join(MEASURES)}"
        ),
        "--critical": _threshold("with --status, exit with 2 if NAME exceeds NUMBER"),
        "--check-config": _flag("check everything that the other options name, print any problems, and exit"),
    }
)

NEEDS: Mapping[str, frozenset[str]] = MappingProxyType(
    dict.fromkeys(("watch", "json", "warning", "critical"), frozenset({"status"}))
)
_LOOKED_AT = frozenset({"status", "listen", "tls_cert", "tls_key", "tls_client_ca", "state", "spool"})
ALONE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "warning": _LOOKED_AT | {"critical"},
        "critical": _LOOKED_AT | {"warning"},
        "status": _LOOKED_AT | {"watch", "json", "warning", "critical"},
    }
)
