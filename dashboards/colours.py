"""The colours, the same on all dashboards: red is what an operator must look at.

Owns the colours of series, by their legends, and the style of reference series such as limits. A legend made
of a label has a colour for each of the label's values.
"""

from collections.abc import Mapping, Sequence

GOOD, ODD, BAD, WORST, CALM = "green", "orange", "red", "purple", "blue"

Steps = Sequence[tuple[float | None, str]]
"""Thresholds: the value from which a colour applies; the first has none."""

NO_MATTER: Steps = ((None, CALM),)
ALWAYS_GOOD: Steps = ((None, GOOD),)
NONE_IS_GOOD: Steps = ((None, GOOD), (1, BAD))
FAILED_SHARE: Steps = ((None, GOOD), (0.2, ODD), (0.5, BAD))
USED_SHARE: Steps = ((None, GOOD), (0.6, ODD), (0.8, BAD))
TIMES_USUAL: Steps = ((None, GOOD), (2, ODD), (3, BAD))
SPOOLED_BYTES: Steps = ((None, GOOD), (1, ODD), (48 * 1024 * 1024, BAD))

_LINES = {
    "accepted": GOOD,
    "failed": ODD,
    "spike": BAD,
    "expected": "text",
    "open": CALM,
    "allowed": BAD,
    "all hosts": BAD,
    "p50": CALM,
    "p95": ODD,
    "up": GOOD,
    "down": BAD,
}
_VALUES: Mapping[str, Mapping[str, str]] = {
    "{{version}}": {"TLSv1": BAD, "TLSv1.1": ODD, "TLSv1.2": CALM, "TLSv1.3": GOOD, "other": WORST},
    "{{protocol}}": {"POP3": ODD, "POP3S": GOOD},
    "{{status}}": {"0": GOOD, "1": CALM, "2": ODD, "111": BAD, "signal": WORST, "other": "yellow"},
    "{{ended}}": {
        "accepted": GOOD,
        "rejected": BAD,
        "quit": CALM,
        "disconnected": "light-blue",
        "timeout": "yellow",
        "tls_failed": ODD,
        "tls_required": "dark-orange",
        "killed": WORST,
        "error": "dark-red",
        "crashed": "dark-purple",
        "refused": "dark-yellow",
        "other": "text",
    },
    "{{reason}}": {
        "credentials": ODD,
        "session": "light-blue",
        "temporary": BAD,
        "misuse": "dark-red",
        "crashed": WORST,
        "tls_required": "dark-orange",
        "duplicate": CALM,
        "malformed": BAD,
        "spool_full": WORST,
    },
    "{{source}}": {"socket": GOOD, "spool": ODD, "log": CALM},
    "{{result}}": {"ok": GOOD, "failed": BAD},
    "{{method}} accepted": {"User accepted": GOOD, "Apop accepted": "dark-green"},
    "{{method}} rejected": {"User rejected": BAD, "Apop rejected": "dark-red", "Any rejected": WORST},
    "{{protocol}} accepted": {"POP3S accepted": GOOD, "POP3 accepted": "dark-green"},
    "{{protocol}} rejected": {"POP3S rejected": BAD, "POP3 rejected": "dark-red"},
}

_COMPARED: Mapping[str, object] = {"lineStyle": {"fill": "dash", "dash": [8, 6]}, "fillOpacity": 0}
_ALARMING: Mapping[str, object] = {"lineWidth": 0, "fillOpacity": 60}
_DRAWN = {"expected": _COMPARED, "allowed": _COMPARED, "spike": _ALARMING}


def of(legend: str) -> Mapping[str, str]:
    """Return the colours of a legend's series, by name; {} if Grafana chooses."""
    return {legend: _LINES[legend]} if legend in _LINES else _VALUES.get(legend, {})


def drawn(name: str) -> Mapping[str, object]:
    """Return how the style of this series differs from the default; {} if it does not."""
    return _DRAWN.get(name, {})
