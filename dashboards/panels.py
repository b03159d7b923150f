"""The types of panels, with the settings that all panels of a type share, and rows of panels.

Owns their appearance. Knows no metric: queries, texts and units are parameters.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import bargauge as sdk_bargauge
from grafana_foundation_sdk.builders import common, dashboard, loki, prometheus
from grafana_foundation_sdk.builders import heatmap as sdk_heatmap
from grafana_foundation_sdk.builders import logs as sdk_logs
from grafana_foundation_sdk.builders import stat as sdk_stat
from grafana_foundation_sdk.builders import table as sdk_table
from grafana_foundation_sdk.builders import timeseries as sdk_timeseries
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards import colours

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
LOKI = models.DataSourceRef(type_val="loki", uid="${loki_datasource}")

HEIGHT = 9
WAITING = "needs eleven minutes of history"
"""Shown in a host's first eleven minutes, until the rules have enough data."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Queries = Mapping[str, str]
"""Queries by legend: text, or {{label}}."""

P = TypeVar(
    "P",
    sdk_timeseries.Panel,
    sdk_stat.Panel,
    sdk_heatmap.Panel,
    sdk_table.Panel,
    sdk_bargauge.Panel,
    sdk_logs.Panel,
)


class Row(NamedTuple):
    """A heading, and the panels below it from left to right."""

    title: str
    panels: Sequence[Builder[models.Panel]]


def timeseries(
    title: str, about: str, unit: str, queries: Queries, *, exemplars: bool = False
) -> sdk_timeseries.Panel:
    """Return lines over time, with a table of mean, maximum and last values below."""
    panel = _common(sdk_timeseries.Panel(), title, about).unit(unit).min(0).height(HEIGHT).span(12)
    panel = (
        panel.targets(_targets(queries, exemplars=exemplars)).legend(_legend()).line_width(2).fill_opacity(12)
    )
    tooltip = common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI).sort(words.SortOrder.DESCENDING)
    for legend in queries:
        for name, colour in colours.of(legend).items():
            panel = panel.override_by_name(name, _line(name, colour))
    return panel.tooltip(tooltip)


def linked(panel: sdk_heatmap.Panel, title: str, url: str) -> sdk_heatmap.Panel:
    """Return the panel with a link in its corner."""
    return panel.links([dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url)])


def stacked(panel: sdk_timeseries.Panel) -> sdk_timeseries.Panel:
    """Return the panel with its series stacked."""
    return _layered(panel, words.StackingMode.NORMAL)


def shared_out(panel: sdk_timeseries.Panel) -> sdk_timeseries.Panel:
    """Return the panel with its series stacked as percentages."""
    return _layered(panel, words.StackingMode.PERCENT)


def stat(
    title: str, about: str, unit: str, expr: str, steps: colours.Steps = colours.NO_MATTER
) -> sdk_stat.Panel:
    """Return one number in large type over its graph; steps: its colours."""
    panel = _common(sdk_stat.Panel(), title, about).unit(unit).targets(_targets({"": expr})).height(4).span(4)
    panel = panel.reduce_options(_last()).graph_mode(words.BigValueGraphMode.AREA).thresholds(_steps(steps))
    return panel.color_mode(words.BigValueColorMode.BACKGROUND)


def heatmap(title: str, about: str, unit: str, expr: str) -> sdk_heatmap.Panel:
    """Return a heatmap of a histogram's buckets over time, with exemplars as dots."""
    query = _range(expr, "A").legend_format("{{le}}").format(PromQueryFormat.HEATMAP).exemplar(exemplar=True)
    panel = _common(sdk_heatmap.Panel(), title, about).with_target(query).height(HEIGHT).span(12)
    reds = sdk_heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Reds").steps(64)
    return panel.color(reds).y_axis(sdk_heatmap.YAxisConfig().unit(unit)).show_y_histogram()


def table(title: str, about: str, queries: Queries, units: Mapping[str, str]) -> sdk_table.Panel:
    """Return a table with a row per host and a column per query; units: of columns, by name."""
    panel = _common(sdk_table.Panel(), title, about).unit("short").decimals(0).height(HEIGHT).span(24)
    panel = panel.targets([_moment(expr, letter) for letter, (_, expr) in _lettered(queries)])
    names = {f"Value #{letter}": name for letter, (name, _) in _lettered(queries)}
    for transformation in _transformations(names):
        panel = panel.with_transformation(transformation)
    for name, unit in units.items():
        panel = panel.override_by_name(name, [_value("unit", unit)])
    first = next(iter(queries))
    return panel.sort_by([common.TableSortByFieldState().display_name(first).desc(desc=True)])


def bargauge(title: str, about: str, unit: str, logql: str, legend: str) -> sdk_bargauge.Panel:
    """Return a bar for each series that Loki counts in the time range."""
    query = _logs(logql).legend_format(legend).query_type("instant")
    panel = _common(sdk_bargauge.Panel(), title, about).datasource(LOKI).unit(unit).with_target(query)
    return (
        panel.reduce_options(_last()).orientation(words.VizOrientation.HORIZONTAL).min(0).height(11).span(12)
    )


def logs(title: str, about: str, logql: str) -> sdk_logs.Panel:
    """Return log lines, newest first."""
    panel = (
        _common(sdk_logs.Panel(), title, about).datasource(LOKI).with_target(_logs(logql).query_type("range"))
    )
    return panel.show_time(show_time=True).enable_log_details(enable_log_details=True).height(11).span(24)


def alerts(title: str, about: str) -> dashboard.Panel:
    """Return the list of our alerts that are firing or pending."""
    states = {"firing": True, "pending": True, "error": True, "noData": False, "normal": False}
    shown = {"viewMode": "list", "groupMode": "default", "groupBy": [], "sortOrder": 1, "maxItems": 20}
    chosen = {"alertName": "QmailPopup", "alertInstanceLabelFilter": "", "dashboardAlerts": False}
    panel = dashboard.Panel().type("alertlist").title(title).description(about).datasource(PROMETHEUS)
    return panel.options({**shown, **chosen, "stateFilter": states}).height(HEIGHT).span(6)


def _common(panel: P, title: str, about: str) -> P:
    return panel.title(title).description(about).datasource(PROMETHEUS)


def _lettered(queries: Queries) -> Iterator[tuple[str, tuple[str, str]]]:
    return zip(LETTERS, queries.items(), strict=False)


def _targets(queries: Queries, *, exemplars: bool = False) -> list[Builder[variants.Dataquery]]:
    return [
        _range(expr, letter).legend_format(legend).exemplar(exemplars)
        for letter, (legend, expr) in _lettered(queries)
    ]


def _range(expr: str, letter: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).range().datasource(PROMETHEUS).ref_id(letter)


def _moment(expr: str, letter: str) -> Builder[variants.Dataquery]:
    query = prometheus.Dataquery().expr(expr).instant().format(PromQueryFormat.TABLE)
    return query.datasource(PROMETHEUS).ref_id(letter)


def _logs(logql: str) -> loki.Dataquery:
    return loki.Dataquery().expr(logql).datasource(LOKI).ref_id("A")


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(show_legend=True).calcs(["mean", "max", "lastNotNull"])
    return legend.display_mode(words.LegendDisplayMode.TABLE).placement(words.LegendPlacement.BOTTOM)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _layered(panel: sdk_timeseries.Panel, mode: words.StackingMode) -> sdk_timeseries.Panel:
    return panel.stacking(common.StackingConfig().mode(mode).group("A")).fill_opacity(60).line_width(1)


def _line(name: str, colour: str) -> list[models.DynamicConfigValue]:
    drawn = [_value("color", {"mode": "fixed", "fixedColor": colour})]
    return drawn + [_value(f"custom.{setting}", value) for setting, value in colours.drawn(name).items()]


def _transformations(names: Mapping[str, str]) -> list[models.DataTransformerConfig]:
    """Return transformations that join the results and name the columns."""
    shown = {"excludeByName": {"Time": True}, "renameByName": names}
    kinds = {"merge": {}, "organize": shown}
    return [models.DataTransformerConfig(id_val=kind, options=options) for kind, options in kinds.items()]


def _steps(steps: colours.Steps) -> dashboard.ThresholdsConfig:
    found = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def _value(name: str, value: object) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(name, value)
