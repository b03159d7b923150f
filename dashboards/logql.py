"""Queries about clients, which no metric covers: the sidecars' JSON log in Loki, and traces in Tempo.

Owns which fields of the log are queried. Loki writes client.address and user.hash with an underscore. The log
must arrive in Loki with the host's job and instance labels from Prometheus.
"""

import json
from urllib.parse import quote

from dashboards.promql import HOSTS

FAILED = f'{{{HOSTS}}} | json | reason="credentials" | __error__=""'
"""The sessions that count as failed logins."""

NETWORK = r'"client\.address": "(?P<network>\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f]*:[0-9a-f]*)'
"""Three bytes of IPv4 or three words of IPv6: a /24 or a /48."""


def most_by_network() -> str:
    """Return a query for the networks with the most failed logins in the time range."""
    return _most("network", f"regexp `{NETWORK}`")


def most_by_user() -> str:
    """Return a query for the users with the most failed logins in the time range."""
    return _most("user_hash", 'user_hash!=""')


def traces_of_refused() -> str:
    """Return the address of a Tempo search; Grafana expands its variables, so they are not quoted."""
    tempo = "${tempo_datasource}"
    search = {
        "refId": "A",
        "datasource": {"type": "tempo", "uid": tempo},
        "queryType": "traceql",
        "query": '{ span.qmail_popup.auth.result = "rejected" }',
    }
    pane = {"datasource": tempo, "queries": [search], "range": {"from": "${__from}", "to": "${__to}"}}
    return f"/explore?schemaVersion=1&panes={quote(json.dumps({'traces': pane}), safe='${}')}"


def _most(label: str, stage: str) -> str:
    return f"topk(15, sum by ({label}) (count_over_time({FAILED} | {stage} [$__auto])))"
