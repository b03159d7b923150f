"""What all dashboards share apart from panels: variables, links to each other, alert annotations.

Owns the variables' names. Knows no panel.
"""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from dashboards.panels import PROMETHEUS, Row

TAG = "qmail-popup"
"""Each dashboard links to all others with this tag."""

ALERTS = 'ALERTS{alertname=~"QmailPopup.+", alertstate="firing", job=~"$job|", instance=~"$instance|"}'
"""The alerts drawn over panels. An alert for a whole job has no instance, so an empty one matches too."""

_SEEN = "qmail_popup_build_info"
"""One series per host, scraped or pushed: it supplies the choices for job and instance."""


def frame(uid: str, title: str, about: str, rows: Sequence[Row]) -> dashboard.Dashboard:
    """Return a dashboard with these rows; uid: the end of its address, which never changes."""
    made = dashboard.Dashboard(title).uid(uid).description(about).tags([TAG, "mail"]).readonly()
    made = made.timezone("browser").time("now-6h", "now").refresh("1m").version(1)
    made = made.tooltip(models.DashboardCursorSync.CROSSHAIR).link(_others()).annotation(_AlertsBuilder())
    made = made.with_variable(source("datasource", "Data source", "prometheus"))
    made = made.with_variable(_choice("job", f"label_values({_SEEN}, job)"))
    made = made.with_variable(_choice("instance", f'label_values({_SEEN}{{job=~"$job"}}, instance)'))
    for row in rows:
        made = made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(panel)
    return made


def source(name: str, label: str, kind: str) -> dashboard.DatasourceVariable:
    """Return a variable that selects a data source of this type."""
    return dashboard.DatasourceVariable(name).label(label).type(kind)


def _choice(name: str, query: str) -> dashboard.QueryVariable:
    """Return a variable that selects any number of jobs or hosts; the default is all."""
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = dashboard.QueryVariable(name).label(name.title()).datasource(PROMETHEUS)
    variable = variable.query({"query": query, "refId": name}).sort(models.VariableSort.ALPHABETICAL_ASC)
    variable = variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).current(everything)
    return variable.multi(multi=True).include_all(include_all=True).all_value(".+")


def _others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("qmail-popup").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.keep_time(keep_time=True).include_vars(include_vars=True)


class _Alerts(models.AnnotationQuery):
    """An annotation query for alerts, with Prometheus fields that the SDK lacks."""

    def to_json(self) -> dict[str, object]:
        """Return the JSON for Grafana."""
        words = {"titleFormat": "{{alertname}}", "textFormat": "{{instance}}", "tagKeys": "severity"}
        return super().to_json() | words | {"step": "1m"}


class _AlertsBuilder(Builder[models.AnnotationQuery]):
    def build(self) -> models.AnnotationQuery:
        """Return the annotation query."""
        return _Alerts(name="Alerts", datasource=PROMETHEUS, icon_color="red", expr=ALERTS)
