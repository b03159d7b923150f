"""dashboards/: the JSON is what the program builds, and it asks for what the product and its rules have."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import colours, logql
from dashboards.build import DASHBOARDS, rendered, write
from dashboards.panels import WAITING
from observability.event import build
from observability.store import families
from tests.support.descriptors import CHECKOUT
from tests.support.panels import INSTANT, LOKI, RANGE, SELECTOR, Query, every_panel, filled, queries
from tests.support.sidecar import REJECTED, RunningSidecar, deliver, fields
from tests.support.waiting import eventually

Json = dict[str, Any]

WHERE_LOGS_ARE_READ = {f"qmail_popup_{families.LOGS_UNREADABLE.name}"}
OTHERS_OWN = {"up", "push_time_seconds"}  # Prometheus', and the Pushgateway's


def load(name: str) -> Json:
    """Return a dashboard as it lies in the checkout."""
    told: Json = json.loads((CHECKOUT / "dashboards" / name).read_text(encoding="utf-8"))
    return told


@pytest.fixture(params=DASHBOARDS)
def dashboard(request: pytest.FixtureRequest) -> Json:
    """Return each dashboard."""
    return load(request.param)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_json_is_what_the_program_builds(name: str) -> None:
    """What an operator imports is what is under review, byte by byte."""
    assert rendered(DASHBOARDS[name]) == (CHECKOUT / "dashboards" / name).read_text(encoding="utf-8")


def test_the_program_writes_all_files(tmp_path: Path) -> None:
    """And no other."""
    write(tmp_path)
    assert sorted(path.name for path in (CHECKOUT / "dashboards").glob("*.json")) == sorted(
        path.name for path in tmp_path.iterdir()
    )


def test_addresses_stay() -> None:
    """Bookmarks and links in alerts lead to these forever."""
    assert ["qmail-popup-fleet", "qmail-popup-auth-failures", "qmail-popup-telemetry"] == [
        load(name)["uid"] for name in DASHBOARDS
    ]


def test_each_leads_to_the_others(dashboard: Json) -> None:
    """By their common tag; time and choices come along."""
    (link,) = dashboard["links"]
    assert ("dashboards", ["qmail-popup"], True, True) == tuple(
        link[key] for key in ("type", "tags", "keepTime", "includeVars")
    )
    assert "qmail-popup" in dashboard["tags"]


def test_panels_have_numbers_and_places_of_their_own(dashboard: Json) -> None:
    """No two have the same number or lie on each other, and none reaches out of the 24 columns."""
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert [] == [place for place in places if place["x"] + place["w"] > 24]
    assert [] == [pair for pair in combinations(places, 2) if overlap(*pair)]
    assert list(range(1, len(places) + 1)) == [panel["id"] for panel in dashboard["panels"]]


def overlap(one: Json, other: Json) -> bool:
    """Whether two places on the grid have a cell in common."""
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def test_lines_are_summed_up_below(dashboard: Json) -> None:
    """Every panel with lines has a legend with their mean, highest and last values."""
    assert {("mean", "max", "lastNotNull")} == {
        tuple(panel["options"]["legend"]["calcs"])
        for panel in every_panel(dashboard)
        if panel["type"] == "timeseries"
    }


def test_all_series_exist(dashboard: Json, tmp_path: Path) -> None:
    """Each is a sidecar's, a recording rule's, or one that Prometheus or the gateway makes."""
    with RunningSidecar(tmp_path, "--sessions-limit=5") as sidecar:
        own = {name for name, _ in sidecar.numbers()}
    recording = yaml.safe_load((CHECKOUT / "dashboards/rules/recording.yml").read_text(encoding="utf-8"))
    recorded = {rule["record"] for group in recording["groups"] for rule in group["rules"]}
    asked = {name for query in queries(dashboard) for name, _ in SELECTOR.findall(query.expr)}
    assert set() == asked - own - recorded - OTHERS_OWN - WHERE_LOGS_ARE_READ


@pytest.mark.parametrize(
    ("label", "all_with_it"),
    [
        ("ended", [families.SESSIONS]),
        ("status", [families.EXITS]),
        ("version", [families.TLS]),
        ("protocol", [families.SESSIONS]),
        ("reason", [families.FAILURES, families.DROPPED]),
        ("source", [families.EVENTS]),
        ("result", [families.PUSHES]),
    ],
)
def test_every_value_of_a_label_has_a_colour(label: str, all_with_it: list[families.Family]) -> None:
    """The label's own values, letter by letter: one that is spelled otherwise would be left to chance."""
    values = {row[family.labels.index(label)] for family in all_with_it for row in family.values}
    assert values == set(colours.of(f"{{{{{label}}}}}"))


def test_what_waits_for_the_rules_says_so(dashboard: Json) -> None:
    """In its first eleven minutes a host is not without data: the rules do not know it in whole yet."""
    panels = [panel for panel in every_panel(dashboard) if panel.get("targets")]
    said = {
        panel["title"]: panel.get("fieldConfig", {}).get("defaults", {}).get("noValue") for panel in panels
    }
    assert {panel["title"]: WAITING if ":" in _names(panel) else None for panel in panels} == said


def _names(panel: Json) -> str:
    return " ".join(name for target in panel["targets"] for name, _ in SELECTOR.findall(target["expr"]))


def test_exemplars_are_asked_for_where_there_are_some() -> None:
    """The refusals on the page about refusals lead to their traces."""
    asked = [
        panel["title"]
        for panel in every_panel(load("qmail-popup-auth-failures.json"))
        for target in panel.get("targets", ())
        if target.get("exemplar")
    ]
    assert ["How long a refusal takes", "Rejects by method and protocol"] == asked


def test_the_log_has_the_fields_that_are_asked_for(tmp_path: Path) -> None:
    """What the queries for Loki filter and count by stands in a line that a sidecar wrote."""
    (line,) = logged(tmp_path, {**REJECTED})
    known = {re.sub(r"\W", "_", name) for name in json.loads(line)}
    everything = queries(load("qmail-popup-auth-failures.json"))
    asked = " ".join(query.expr for query in everything if query.kind == LOKI)
    used = set(re.findall(r"\| (\w+)(?:=|!=|<=)", asked)) | set(re.findall(r"sum by \((\w+)\)", asked))
    assert {"reason", "user_hash"} == used - {"__error__", "network"}
    assert used - {"__error__", "network"} <= known


def test_a_failed_login_passes_the_filters_of_the_log(tmp_path: Path) -> None:
    """And a checker that is broken, a client that dropped out or an accepted login does not."""
    reasons = [b"credentials", b"temporary", b"session"]
    sessions = [*({**REJECTED, "REASON": reason} for reason in reasons), {}]
    told = [json.loads(line) for line in logged(tmp_path, *sessions)]
    assert [True, False, False, False] == [passes(each) for each in told]


def passes(told: Json) -> bool:
    """Whether a line of the log passes the filters of logql.FAILED, as Loki would apply them."""
    filters = re.findall(r'\| (\w+)="([^"]*)"', logql.FAILED)
    words = {**{name: "" if value is None else str(value) for name, value in told.items()}, "__error__": ""}
    return all(words.get(name, "") == wanted for name, wanted in filters)


@pytest.mark.parametrize(
    ("address", "how", "network"),
    [
        ("192.0.2.77", "plain", "192.0.2"),
        ("192.0.2.77", "prefix", "192.0.2"),
        ("2001:db8:7:1::9", "plain", "2001:db8:7"),
        ("2001:db8:7:1::9", "prefix", "2001:db8:7"),
        ("unknown", "plain", None),
    ],
)
def test_networks_are_found_in_the_log(tmp_path: Path, address: str, how: str, network: str | None) -> None:
    """In a real line, in both forms of addresses; what is no address belongs to no network."""
    (line,) = logged(
        tmp_path, {**REJECTED, "CLIENT_IP": address.encode()}, options=[f"--client-addresses={how}"]
    )
    found = re.search(logql.NETWORK, line)
    assert network == (found and found["network"])


def logged(
    directory: Path, *sessions: dict[str, bytes], options: tuple[str, ...] | list[str] = ()
) -> list[str]:
    """Have a sidecar log sessions; return its lines. sessions: what differs from an accepted one."""
    with RunningSidecar(directory, "--json-log", *options) as sidecar:
        for changes in sessions:
            deliver(sidecar.socket, build(fields(changes)))
        assert eventually(lambda: len(sessions) == sidecar.log.read_text().count("\n"))
        return sidecar.log.read_text().splitlines()


def test_queries_are_told_apart() -> None:
    """By who can answer them, and over what time."""
    prometheus, loki = {"type": "prometheus"}, {"type": "loki"}
    targets = [
        {"expr": "a", "datasource": prometheus, "range": True},
        {"expr": "b", "datasource": prometheus, "instant": True},
        {"expr": "c", "datasource": loki, "instant": True},
    ]
    row = {"type": "row", "panels": [{"type": "stat", "title": "one", "targets": targets}]}
    assert [Query("one", "a", RANGE), Query("one", "b", INSTANT), Query("one", "c", LOKI)] == queries(
        {"panels": [row, {"type": "alertlist", "title": "two"}]}
    )


def test_variables_are_filled_in() -> None:
    """All of them, however they are written; $1 is none."""
    asked = 'label_replace(rate(a{job=~"$job|b", instance=~"${instance}"}[$__rate_interval]), "c", "$1")'
    assert 'label_replace(rate(a{job=~"mail|b", instance=~".+"}[4s]), "c", "$1")' == filled(
        asked, job="mail", rate_interval="4s"
    )


def test_an_unknown_variable_is_no_query() -> None:
    """A slip in a variable's name would be asked for as it stands, and find nothing."""
    with pytest.raises(KeyError, match="instances"):
        filled("$instances")
