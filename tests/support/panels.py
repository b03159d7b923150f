"""What a dashboard asks, and the same with its variables filled in, as Grafana would.

Knows Grafana's JSON, and neither the dashboards nor who is asked.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

RANGE, INSTANT, LOKI = "range", "instant", "loki"

SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
"""A series' name and its matchers, as all our queries write them: no matcher holds a brace."""

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([a-zA-Z_]\w*))")  # $1 is label_replace's


class Query(NamedTuple):
    """A question of a panel's; kind: RANGE or INSTANT, which Prometheus answers, or LOKI, which it cannot."""

    panel: str
    expr: str
    kind: str


def every_panel(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the panels in their order, those in rows too, and not the rows themselves."""
    for panel in dashboard["panels"]:
        yield from every_panel(panel) if panel["type"] == "row" else [panel]


def queries(dashboard: Mapping[str, Any]) -> list[Query]:
    """Return what all panels ask, in their order."""
    return [
        Query(panel["title"], target["expr"], kind(target))
        for panel in every_panel(dashboard)
        for target in panel.get("targets", ())
    ]


def kind(target: Mapping[str, Any]) -> str:
    """Return what kind of query this is."""
    if target["datasource"]["type"] == "loki":
        return LOKI
    return INSTANT if target.get("instant") else RANGE


def filled(  # noqa: PLR0913 - Grafana has that many variables, and a test seldom names more than one
    expr: str,
    *,
    job: str = ".+",
    instance: str = ".+",
    rate_interval: str = "1m",
    interval: str = "15s",
    time_range: str = "1h",
) -> str:
    """Return a query with its variables filled in; KeyError for one that is not known here."""
    values = {
        "job": job,
        "instance": instance,
        "__rate_interval": rate_interval,
        "__interval": interval,
        "__range": time_range,
        "__auto": time_range,
    }
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], expr)
