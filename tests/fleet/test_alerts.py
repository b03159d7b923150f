"""Alerts that were seen to fire: real hosts, Prometheus with the rules, Alertmanager, a webhook.

Three hosts have people who log in. One is attacked, then the checker breaks on another; ten minutes take ten
seconds. What is asked of Prometheus is asked of times in the story, whenever that is.
"""

import json
from collections.abc import Iterator
from math import isnan
from pathlib import Path

import pytest

from tests.fleet.alerts_story import ATTACKED, BROKEN, Fleet, fleet, play
from tests.support.asking import Source, Stretch
from tests.support.descriptors import CHECKOUT
from tests.support.panels import INSTANT, LOKI, Query, queries

_STORY_SECONDS = 600.0  # and more: it all happened in less
_RATE_SECONDS = 4  # what Grafana makes of a scrape each second

_ROUTES = {
    "QmailPopupAuthAllFailing": ("critical", "pager"),
    "QmailPopupAuthRejectSpike": ("warning", "postmaster"),
    "QmailPopupInstanceRejectOutlier": ("warning", "postmaster"),
    "QmailPopupSubprogramFailing": ("critical", "pager"),
}
_DASHBOARDS = sorted(path.name for path in (CHECKOUT / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Iterator[Fleet]:
    """Return the three hosts after all that happened to them."""
    with fleet(tmp_path_factory.mktemp("fleet"), installed) as running:
        play(running)
        yield running


def _story(played: Fleet) -> Stretch:
    """Return the time from the beginning to where all had been told."""
    return Stretch(played.worst - _STORY_SECONDS, played.worst, 1, _RATE_SECONDS)


def _expected(played: Fleet) -> set[tuple[str, str]]:
    attacked = {(name, played.hosts.attacked.target) for name in ATTACKED}
    return attacked | {(name, played.hosts.broken.target) for name in BROKEN}


def test_the_right_alerts_are_told_and_resolved(played: Fleet) -> None:
    """Each once, of the host that it is about, and no other alert from the beginning to the end."""
    expected = {alert: ["firing", "resolved"] for alert in _expected(played)}
    assert expected == played.watch.webhook.states()


def test_nothing_else_fired_behind_the_routes(played: Fleet) -> None:
    """Prometheus itself, which the Alertmanager may keep silent about, saw the same."""
    firing = 'count_over_time(ALERTS{alertstate="firing"}[1h])'
    found = played.watch.prometheus.values(firing, "alertname", "instance")
    assert _expected(played) == set(found)


def test_alerts_go_where_their_severity_says(played: Fleet) -> None:
    """What keeps users out wakes somebody."""
    notices = played.watch.webhook.notices
    assert _ROUTES == {notice.name: (notice.labels["severity"], notice.receiver) for notice in notices}


def test_alerts_say_what_a_person_needs(played: Fleet) -> None:
    """Which host, first of all how bad it is in figures, and where to read on."""
    for notice in played.watch.webhook.notices:
        assert {"alertname", "instance", "job", "severity"} == notice.labels.keys()
        assert notice.labels["instance"] in notice.annotations["summary"]
        assert notice.annotations["description"][0].isdigit()
        assert notice.annotations["runbook_url"].endswith(f"runbooks.md#{notice.name.lower()}")


def test_no_rule_complains(played: Fleet) -> None:
    """Two series where a rule wants one, or a template that cannot be filled in, show only when it runs."""
    assert [] == played.watch.prometheus.rule_faults()


@pytest.mark.parametrize("name", _DASHBOARDS)
def test_every_panel_has_data(played: Fleet, name: str) -> None:
    """Each query of a dashboard finds something in the time of the story."""
    dashboard = json.loads((CHECKOUT / "dashboards" / name).read_text(encoding="utf-8"))
    source = Source(played.watch.prometheus.url, _story(played))
    asked = [query for query in queries(dashboard) if query.kind != LOKI]
    assert asked
    assert [] == [query for query in asked if all(map(isnan, _numbers(source, query)))]


def _numbers(source: Source, query: Query) -> list[float]:
    """Return all that a query finds; a quantile of nothing is no number."""
    if query.kind == INSTANT:
        return [value for _, value in source.at_end(query.expr)]
    return [value for series in source.over_time(query.expr) for value in series.values]


def test_refusals_lead_to_traces(played: Fleet) -> None:
    """What Prometheus keeps of a refusal has the trace to it."""
    source = Source(played.watch.prometheus.url, _story(played))
    assert source.exemplars("qmail_popup_auth_rejected_duration_seconds_bucket")
