"""What all dashboards have around their panels: variables, links to each other, alerts drawn over time.

Owns the variables' names. It knows no panel.
"""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from dashboards.panels import PROMETHEUS, Row

TAG = "qmail-popup"
"""Each dashboard links to all others that have it."""

ALERTS = 'ALERTS{alertname=~"QmailPopup.+", alertstate="firing", job=~"$job|", instance=~"$instance|"}'
"""What is drawn over the panels: an alert for a whole job has no instance, so none is a match too."""

_SEEN = "qmail_popup_build_info"
"""One series a host, scraped or pushed: what the choices at the top of a dashboard are made from."""


def frame(uid: str, title: str, about: str, rows: Sequence[Row]) -> dashboard.Dashboard:
    """Return a dashboard with these rows; uid: what its address ends in, which never changes."""
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
    """Return a variable that chooses among the data sources of a kind."""
    return dashboard.DatasourceVariable(name).label(label).type(kind)


def _choice(name: str, query: str) -> dashboard.QueryVariable:
    """Return a variable for any number of jobs or hosts: all of them, to begin with."""
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = dashboard.QueryVariable(name).label(name.title()).datasource(PROMETHEUS)
    variable = variable.query({"query": query, "refId": name}).sort(models.VariableSort.ALPHABETICAL_ASC)
    variable = variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).current(everything)
    return variable.multi(multi=True).include_all(include_all=True).all_value(".+")


def _others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("qmail-popup").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.keep_time(keep_time=True).include_vars(include_vars=True)


class _Alerts(models.AnnotationQuery):
    """Alerts over time, with the fields that Grafana has for Prometheus and the SDK does not know."""

    def to_json(self) -> dict[str, object]:
        """Return what Grafana reads."""
        words = {"titleFormat": "{{alertname}}", "textFormat": "{{instance}}", "tagKeys": "severity"}
        return super().to_json() | words | {"step": "1m"}


class _AlertsBuilder(Builder[models.AnnotationQuery]):
    def build(self) -> models.AnnotationQuery:
        """Return them, ready to be shown."""
        return _Alerts(name="Alerts", datasource=PROMETHEUS, icon_color="red", expr=ALERTS)
