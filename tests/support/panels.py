"""A dashboard's queries, and the same with their variables interpolated as by Grafana.

Knows Grafana's JSON, but not our dashboards or the data sources.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

RANGE, INSTANT, LOKI = "range", "instant", "loki"

SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
"""A series' name and matchers as in all our queries: no matcher contains a brace."""

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([a-zA-Z_]\w*))")  # $1 belongs to label_replace


class Query(NamedTuple):
    """A panel's query. kind: RANGE or INSTANT for Prometheus, or LOKI."""

    panel: str
    expr: str
    kind: str


def every_panel(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the panels in order, including those in rows but not the rows."""
    for panel in dashboard["panels"]:
        yield from every_panel(panel) if panel["type"] == "row" else [panel]


def queries(dashboard: Mapping[str, Any]) -> list[Query]:
    """Return the queries of all panels, in order."""
    return [
        Query(panel["title"], target["expr"], kind(target))
        for panel in every_panel(dashboard)
        for target in panel.get("targets", ())
    ]


def kind(target: Mapping[str, Any]) -> str:
    """Return the kind of a query."""
    if target["datasource"]["type"] == "loki":
        return LOKI
    return INSTANT if target.get("instant") else RANGE


def filled(  # noqa: PLR0913  Grafana's variables, of which a test seldom sets more than one
    expr: str,
    *,
    job: str = ".+",
    instance: str = ".+",
    rate_interval: str = "1m",
    interval: str = "15s",
    time_range: str = "1h",
) -> str:
    """Return a query with its variables interpolated; KeyError for an unknown one."""
    values = {
        "job": job,
        "instance": instance,
        "__rate_interval": rate_interval,
        "__interval": interval,
        "__range": time_range,
        "__auto": time_range,
    }
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], expr)
