"""The dashboard *Auth failures*: whether it is an attack, on which hosts, from where, or a broken checker.

Owns its queries and texts, in the order in which an operator asks. rules/recording.yml decides what is usual
and what is a spike; the alerts use the same series.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards import logql
from dashboards.colours import NONE_IS_GOOD, TIMES_USUAL
from dashboards.frame import frame, source
from dashboards.panels import (
    WAITING,
    Row,
    alerts,
    bargauge,
    heatmap,
    linked,
    logs,
    stacked,
    stat,
    table,
    timeseries,
)
from dashboards.promql import (
    ATTEMPTS,
    REFUSALS,
    REJECTED,
    cells,
    quantile_soon,
    series,
    summed,
    ten_minutes,
    top,
)

_COUNTED = "instance_outcome:qmail_popup_auth:increase10m"
_FAILED = series(_COUNTED, 'outcome="failed"')
_LOGINS = series(_COUNTED, 'outcome="accepted"')
_BROKEN = series(_COUNTED, 'outcome="broken"')
_EXPECTED = series("instance_method_protocol:qmail_popup_auth_failed:expected10m")
_PEERS = series("instance_protocol:qmail_popup_auth_failed:peers10m", 'protocol=""')
_SPIKE = series("instance:qmail_popup_auth_failed:spike10m")
_USUAL_LOGINS = series("instance_outcome:qmail_popup_auth:increase10m_usual", 'outcome="accepted"')
_ALL_FAILING = series("instance_method_protocol:qmail_popup_auth:all_failing")
_SETTLED = series("instance:qmail_popup_sessions:settled10m")

_FAILED_ABOUT = "refused for wrong credentials, where hosts report reasons"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    rows = [_attack(), _hosts(), _refusals(), _checker(), _clients()]
    about = "Spikes of failed logins: on which hosts, from where, or whether a checker is broken."
    made = frame("qmail-popup-auth-failures", "qmail-popup / Auth failures", about, rows)
    made = made.with_variable(source("loki_datasource", "Loki data source", "loki"))
    return made.with_variable(source("tempo_datasource", "Tempo data source", "tempo"))


def _attack() -> Row:
    return Row(
        "Is it an attack?",
        [
            stat("Failed logins", f"In ten minutes: {_FAILED_ABOUT}.", "short", f"sum({_FAILED})").no_value(
                WAITING
            ),
            stat(
                "Expected",
                "Expected failed logins in ten minutes: those at this hour of other days, or on the first "
                "day in the last two hours, scaled by how many people log in.",
                "short",
                f"sum({_EXPECTED})",
            ).no_value(WAITING),
            stat(
                "Failed / expected",
                "Failed logins divided by the expected number. Ten are added to both, so that two instead "
                "of one are no spike.",
                "none",
                _times(f"({_FAILED} and on (job, instance) {_EXPECTED})", _EXPECTED),
                TIMES_USUAL,
            ).no_value(WAITING),
            stat(
                "Hosts with a spike",
                "Hosts with enough failed logins for QmailPopupAuthRejectSpike to fire if it lasts.",
                "short",
                f"count({_SPIKE}) or 0 * count({_SETTLED})",
                NONE_IS_GOOD,
            ).no_value(WAITING),
            stat(
                "Hosts where nobody can log in",
                "Hosts where logins with a method or protocol no longer succeed and about as many more "
                "are refused: the checker or its database is broken.",
                "short",
                f"count(group by (job, instance) ({_ALL_FAILING})) or 0 * count({_SETTLED})",
                NONE_IS_GOOD,
            ).no_value(WAITING),
            stat(
                "Checker failures",
                "Logins in ten minutes that were refused because the checker failed.",
                "short",
                f"sum({_BROKEN})",
                NONE_IS_GOOD,
            ).no_value(WAITING),
            timeseries(
                "Failed logins and what was expected",
                "In ten minutes, on all selected hosts. The red area is the hosts with a spike.",
                "short",
                {"failed": f"sum({_FAILED})", "spike": f"sum({_SPIKE})", "expected": f"sum({_EXPECTED})"},
            )
            .no_value(WAITING)
            .span(18),
            alerts("Alerts", "Alerts that fire or are pending. Each links to its runbook."),
        ],
    )


def _hosts() -> Row:
    return Row(
        "On which hosts?",
        [
            timeseries(
                "Failed logins by host",
                f"In ten minutes: {_FAILED_ABOUT}. The ten hosts with the most.",
                "short",
                {"{{instance}}": top(10, summed(_FAILED, "instance"))},
            ).no_value(WAITING),
            timeseries(
                "Hosts that stand out",
                "Failed logins of a host divided by those of the median host, for the same number of "
                "logins. Ten are added to both, so that small hosts do not stand out by chance. The ten "
                "highest.",
                "none",
                {"{{instance}}": top(10, _times(_FAILED, _PEERS, "instance"))},
            ).no_value(WAITING),
            table(
                "Hosts in the last ten minutes",
                f"failed: {_FAILED_ABOUT}. expected: as at this hour of other days. peers: what the "
                "median host would have with as many logins. checker failed: refused because the "
                "checker failed.",
                {
                    "failed": _of_host(_FAILED),
                    "expected": _of_host(_EXPECTED),
                    "peers": _of_host(_PEERS),
                    "accepted": _of_host(_LOGINS),
                    "accepted, expected": _of_host(_USUAL_LOGINS),
                    "checker failed": _of_host(_BROKEN),
                },
                {},
            ).no_value(WAITING),
        ],
    )


def _refusals() -> Row:
    return Row(
        "What do the refusals look like?",
        [
            linked(
                heatmap(
                    "How long a refusal takes",
                    "From the credentials to the refusal. Each dot is a session and links to its trace. A "
                    "broken database shows as a new band; values above 10 s are clients that disconnected.",
                    "s",
                    cells(REFUSALS),
                ),
                "Traces of refused logins",
                logql.traces_of_refused(),
            ),
            timeseries(
                "How long most refusals take",
                "p50 and p95, without refusals after more than 10 s, which are clients that disconnected. "
                "5 s stands for five to ten.",
                "s",
                {"p50": quantile_soon(0.5), "p95": quantile_soon(0.95)},
            ),
            stacked(
                timeseries(
                    "Rejects by method and protocol",
                    "In ten minutes, as in the record: clients that disconnected are included.",
                    "short",
                    {"{{method}} {{protocol}}": ten_minutes(ATTEMPTS, REJECTED, by="method, protocol")},
                    exemplars=True,
                )
            ),
            timeseries(
                "Logins and what was expected",
                "Accepted logins in ten minutes. An attack does not change them; a broken checker does.",
                "short",
                {"accepted": f"sum({_LOGINS})", "expected": f"sum({_USUAL_LOGINS})"},
            ).no_value(WAITING),
        ],
    )


def _checker() -> Row:
    exits = "qmail_popup_subprogram_exits_total"
    return Row(
        "Is it the checker?",
        [
            stacked(
                timeseries(
                    "How subprograms end",
                    "0: served. 1: refused, or the client disconnected. 2: misused. 111: the checker failed, "
                    "for example because a database is down. signal: it crashed.",
                    "short",
                    {"{{status}}": ten_minutes(exits, by="status")},
                )
            ),
            timeseries(
                "Checker failures by host",
                "Logins in ten minutes that were refused because the checker failed. The ten hosts with "
                "the most.",
                "short",
                {"{{instance}}": top(10, summed(_BROKEN, "instance"))},
            ).no_value(WAITING),
        ],
    )


def _clients() -> Row:
    return Row(
        "From where?",
        [
            bargauge(
                "Networks with most failed logins",
                "From the JSON log, in the time range: the first three bytes of IPv4 addresses, three "
                "words of IPv6.",
                "short",
                logql.most_by_network(),
                "{{network}}",
            ),
            bargauge(
                "Users with most failed logins",
                "From the JSON log, in the time range, by hash: one user from many networks, or many from "
                "one?",
                "short",
                logql.most_by_user(),
                "{{user_hash}}",
            ),
            logs("The last failed logins", "From the JSON log, each with its trace_id.", logql.FAILED),
        ],
    )


def _of_host(expr: str) -> str:
    return summed(expr, "job, instance")


def _times(expr: str, compared: str, by: str = "") -> str:
    return f"({summed(expr, by)} + 10) / ({summed(compared, by)} + 10)"
