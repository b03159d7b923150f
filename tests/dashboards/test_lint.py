"""What Grafana's dashboard-linter asks of a dashboard, rule by rule, of each of ours.

Written after the linter's documentation; each test has the name of its rule. Our queries are flat enough for
regular expressions: that nothing escapes them is a test of its own.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models import units

from dashboards.build import DASHBOARDS
from tests.support.descriptors import CHECKOUT
from tests.support.panels import LOKI, SELECTOR, every_panel, filled, queries
from tests.support.programs import need

Json = dict[str, Any]

RANGE = re.compile(r"(\w+)\((\w[\w:]*)\{[^}]*\}\[([^]]*)\]\)")
STRING = re.compile(r'"[^"]*"')
WORD = re.compile(r"(?<![\w$.])[a-zA-Z_:][\w:]*")
GRAMMAR = {"sum", "count", "group", "max", "min", "topk", "by", "on", "or", "and", "bool", "time", "vector"}
FUNCTIONS = {"rate", "increase", "present_over_time", "clamp_min", "histogram_quantile", "label_replace"}
LABELS = {"job", "instance", "le", "ended", "method", "protocol", "result", "status", "version", "reason"}
LABELS |= {"source", "python_version", "path"}
LINTED = {"stat", "table", "timeseries"}  # the kinds that the linter looks at, of those that we have


@pytest.fixture(params=DASHBOARDS)
def dashboard(request: pytest.FixtureRequest) -> Json:
    """Return each dashboard, as it lies in the checkout."""
    told: Json = json.loads((CHECKOUT / "dashboards" / request.param).read_text(encoding="utf-8"))
    return told


def variables(dashboard: Json, kind: str) -> list[Json]:
    """Return its variables of a kind."""
    return [each for each in dashboard["templating"]["list"] if each["type"] == kind]


def promql(dashboard: Json) -> Iterator[str]:
    """Yield what its panels ask of Prometheus."""
    return (query.expr for query in queries(dashboard) if query.kind != LOKI)


def logql(dashboard: Json) -> Iterator[str]:
    """Yield what its panels ask of Loki."""
    return (query.expr for query in queries(dashboard) if query.kind == LOKI)


def linted(dashboard: Json) -> Iterator[Json]:
    """Yield the panels that the linter looks at."""
    return (panel for panel in every_panel(dashboard) if panel["type"] in LINTED)


def is_valid(tmp_path: Path, *expressions: str) -> str:
    """Have promtool read expressions as rules; return what it complains of."""
    (promtool,) = need("promtool")
    rules = [{"record": f"n{n}", "expr": expr} for n, expr in enumerate(expressions)]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=none", file], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_template_datasource_rule(dashboard: Json) -> None:
    """The data source for metrics is chosen at the top, under the name that the linter knows it by."""
    name, label, query = (variables(dashboard, "datasource")[0][key] for key in ("name", "label", "query"))
    assert ("datasource", "Data source", "prometheus") == (name, label, query)


def test_template_datasource_rule_for_more() -> None:
    """Other data sources are named after their kind, and the linter is told of the dashboards with them."""
    excluded = yaml.safe_load((CHECKOUT / "dashboards/.lint").read_text(encoding="utf-8"))["exclusions"]
    several = []
    for file in DASHBOARDS:
        told = json.loads((CHECKOUT / "dashboards" / file).read_text(encoding="utf-8"))
        more = variables(told, "datasource")[1:]
        several += [{"dashboard": told["title"]}] if more else []
        assert [f"{each['query']}_datasource" for each in more] == [each["name"] for each in more]
        assert [f"{each['query'].title()} data source" for each in more] == [each["label"] for each in more]
    assert {"template-datasource-rule": several} == {rule: each["entries"] for rule, each in excluded.items()}


@pytest.mark.parametrize("name", ["job", "instance"])
def test_template_job_rule_and_template_instance_rule(dashboard: Json, name: str) -> None:
    """Any number of jobs and hosts can be chosen, and all are to begin with."""
    (variable,) = [each for each in variables(dashboard, "query") if each["name"] == name]
    expected = {
        "label": name.title(),
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
    }
    assert expected == {key: variable[key] for key in expected}


def test_template_label_promql_rule(dashboard: Json, tmp_path: Path) -> None:
    """The choices come from label_values of a valid selector."""
    asked = [each["query"]["query"] for each in variables(dashboard, "query")]
    found = [re.fullmatch(r"label_values\((.+), (job|instance)\)", query) for query in asked]
    assert "" == is_valid(tmp_path, *(filled(each[1]) for each in found if each))
    assert all(found)


def test_template_on_time_change_reload_rule(dashboard: Json) -> None:
    """The choices are those of the time that is shown."""
    assert [2, 2] == [each["refresh"] for each in variables(dashboard, "query")]


def test_panel_datasource_rule(dashboard: Json) -> None:
    """No panel and no query names a data source of its own."""
    chosen = {f"${{{each['name']}}}" for each in variables(dashboard, "datasource")}
    asked = [target for panel in every_panel(dashboard) for target in panel.get("targets", ())]
    assert {each["datasource"]["uid"] for each in [*every_panel(dashboard), *asked]} <= chosen


def test_panel_title_description_rule(dashboard: Json) -> None:
    """Every panel says what it shows."""
    assert [] == [
        panel["title"] for panel in every_panel(dashboard) if not (panel["title"] and panel["description"])
    ]


def test_panel_units_rule(dashboard: Json) -> None:
    """Every number has a unit, and it is one of Grafana's."""
    known = {unit for name, unit in vars(units).items() if name[0].isupper()}
    used = {panel["fieldConfig"]["defaults"].get("unit", "missing") for panel in linted(dashboard)}
    used |= {
        each["value"]
        for panel in linted(dashboard)
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "unit"
    }
    assert set() == used - known


def test_panel_no_targets_rule(dashboard: Json) -> None:
    """Every panel asks something, except for the list of alerts, which Grafana itself fills."""
    assert {"alertlist"} == {panel["type"] for panel in every_panel(dashboard) if not panel.get("targets")}


def test_target_promql_rule(dashboard: Json, tmp_path: Path) -> None:
    """All that is asked of Prometheus is PromQL, the alerts over time too."""
    alerts = [filled(each["expr"]) for each in dashboard["annotations"]["list"]]
    assert "" == is_valid(tmp_path, *alerts, *map(filled, promql(dashboard)))


def test_target_job_rule_and_target_instance_rule(dashboard: Json) -> None:
    """Every selector, of Loki's too, is of the chosen jobs and hosts."""
    chosen = ('job=~"$job"', 'instance=~"$instance"')
    selectors = [found[2] for expr in promql(dashboard) for found in SELECTOR.finditer(expr)]
    selectors += [found[1] for expr in logql(dashboard) for found in re.finditer(r"\{([^}]*)\} \|", expr)]
    assert [] == [selector for selector in selectors if not set(chosen) <= set(selector.split(", "))]


def test_no_selector_is_overlooked(dashboard: Json) -> None:
    """Without its selectors and strings, a query has no word left that is not PromQL's own or a label."""
    left = [STRING.sub("", SELECTOR.sub("", expr)) for expr in promql(dashboard)]
    assert set() == {word for expr in left for word in WORD.findall(expr)} - GRAMMAR - FUNCTIONS - LABELS


def test_target_rate_interval_rule(dashboard: Json) -> None:
    """A rate is over $__rate_interval; only what is about the whole time range is over that."""
    used = {(found[1], found[3]) for expr in promql(dashboard) for found in RANGE.finditer(expr)}
    whole = {("increase", "$__range"), ("present_over_time", "$__range")}
    assert set() == used - whole - {("rate", "$__rate_interval"), ("increase", "$__rate_interval")}


def test_no_range_is_overlooked(dashboard: Json) -> None:
    """Every bracket outside of strings is one of those above."""
    for expr in promql(dashboard):
        assert len(RANGE.findall(expr)) == STRING.sub("", expr).count("[")


def test_target_counter_agg_rule(dashboard: Json) -> None:
    """No counter is shown as it is: each is below a rate or an increase."""
    for expr in promql(dashboard):
        names = [name for name, _ in SELECTOR.findall(RANGE.sub("", expr))]
        assert [] == [name for name in names if name.endswith(("_total", "_bucket"))]


def test_target_logql_rule_and_target_logql_auto_rule(dashboard: Json) -> None:
    """What is asked of Loki is a selector and known stages; what counts does it for the whole time range."""
    for expr in logql(dashboard):
        lines, counted = re.subn(
            r"^topk\(15, sum by \(\w+\) \(count_over_time\((.*) \[\$__auto]\)\)\)$", r"\1", expr
        )
        _, *stages = re.sub(r"`[^`]*`|\"[^\"]*\"", "_", lines).split(" | ")
        assert [] == [each for each in stages if not re.fullmatch(r"json|regexp _|\w+(=|!=)_|\w+<=\d+", each)]
        assert bool(counted) == ("count_over_time" in expr)


def test_uneditable_dashboard(dashboard: Json) -> None:
    """Changes are made in the program: what is clicked together would be lost with the next import."""
    assert dashboard["editable"] is False
