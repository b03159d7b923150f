"""The queries about clients, which no metric has: of the sidecars' JSON log in Loki, and of traces in Tempo.

Owns which of the log's fields are asked for. Loki writes client.address and user.hash with an underscore. The
log has to come to Loki with the labels job and instance that the host has in Prometheus.
"""

import json
from urllib.parse import quote

from dashboards.promql import HOSTS

FAILED = f'{{{HOSTS}}} | json | reason="credentials" | __error__=""'
"""The sessions that count as failed logins."""

NETWORK = r'"client\.address": "(?P<network>\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f]*:[0-9a-f]*)'
"""Three bytes of IPv4 or three words of IPv6: a /24 or a /48."""


def most_by_network() -> str:
    """Return what counts the failed logins in the whole time range, for the networks with most of them."""
    return _most("network", f"regexp `{NETWORK}`")


def most_by_user() -> str:
    """Return what counts the failed logins in the whole time range, for the users with most of them."""
    return _most("user_hash", 'user_hash!=""')


def traces_of_refused() -> str:
    """Return the address of a search in Tempo; Grafana fills its variables in, so these stay as they are."""
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
