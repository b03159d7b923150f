"""The dashboard *Auth failures*: whether it is an attack, on which hosts, from where, or a broken checker.

Owns its queries and words, in the order in which an operator asks. What is usual, and what is a spike, is
decided in rules/recording.yml, and the alerts go by the same series.
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

_FAILED_ABOUT = "refused for wrong credentials, as far as the host tells reasons"


def dashboard() -> Dashboard:
    """Return it."""
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
                "Usual",
                "Failed logins in ten minutes at this hour of other days, or on the first day in the last "
                "two hours; more where more people log in than usual.",
                "short",
                f"sum({_EXPECTED})",
            ).no_value(WAITING),
            stat(
                "Times the usual",
                "Failed logins, by what is usual. Ten are added to both, so that two where one is usual "
                "are no spike.",
                "none",
                _times(f"({_FAILED} and on (job, instance) {_EXPECTED})", _EXPECTED),
                TIMES_USUAL,
            ).no_value(WAITING),
            stat(
                "Hosts with a spike",
                "Hosts with so many more failed logins than usual that QmailPopupAuthRejectSpike fires if "
                "it lasts.",
                "short",
                f"count({_SPIKE}) or 0 * count({_SETTLED})",
                NONE_IS_GOOD,
            ).no_value(WAITING),
            stat(
                "Hosts where nobody gets in",
                "Hosts whose logins of a method or protocol are gone while about as many more are refused: "
                "a broken checker, or its database.",
                "short",
                f"count(group by (job, instance) ({_ALL_FAILING})) or 0 * count({_SETTLED})",
                NONE_IS_GOOD,
            ).no_value(WAITING),
            stat(
                "Checker failures",
                "Logins in ten minutes that were refused for trouble of the checker itself.",
                "short",
                f"sum({_BROKEN})",
                NONE_IS_GOOD,
            ).no_value(WAITING),
            timeseries(
                "Failed logins against the usual",
                "In ten minutes, on all chosen hosts. Filled in red: those of hosts with a spike.",
                "short",
                {"failed": f"sum({_FAILED})", "spike": f"sum({_SPIKE})", "usual": f"sum({_EXPECTED})"},
            )
            .no_value(WAITING)
            .span(18),
            alerts("Alerts", "What fires, or is about to. Each names its runbook."),
        ],
    )


def _hosts() -> Row:
    return Row(
        "On which hosts?",
        [
            timeseries(
                "Failed logins by host",
                f"In ten minutes: {_FAILED_ABOUT}. The ten hosts with most.",
                "short",
                {"{{instance}}": top(10, summed(_FAILED, "instance"))},
            ).no_value(WAITING),
            timeseries(
                "Hosts that stand out",
                "Failed logins of a host, by what the median host would have with as many logins. Ten are "
                "added to both, so that small hosts do not stand out by chance. The ten highest.",
                "none",
                {"{{instance}}": top(10, _times(_FAILED, _PEERS, "instance"))},
            ).no_value(WAITING),
            table(
                "Hosts in the last ten minutes",
                f"failed: {_FAILED_ABOUT}. usual: at this hour of other days. peers: what the median host "
                "would have with as many logins. checker failed: refused for trouble of its own.",
                {
                    "failed": _of_host(_FAILED),
                    "usual": _of_host(_EXPECTED),
                    "peers": _of_host(_PEERS),
                    "accepted": _of_host(_LOGINS),
                    "accepted, usual": _of_host(_USUAL_LOGINS),
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
                    "From the credentials to the refusal; each dot is a session, and leads to its trace. A "
                    "broken database shows as a band that was not there before; above 10 s are clients "
                    "that dropped out.",
                    "s",
                    cells(REFUSALS),
                ),
                "Traces of refused logins",
                logql.traces_of_refused(),
            ),
            timeseries(
                "How long most refusals take",
                "The median (p50), and what 95 of 100 stay below (p95). Those of clients that dropped "
                "out, after 10 s, are left out; 5 s stands for five to ten.",
                "s",
                {"p50": quantile_soon(0.5), "p95": quantile_soon(0.95)},
            ),
            stacked(
                timeseries(
                    "Rejects by method and protocol",
                    "In ten minutes, as in the record: clients that dropped out are in here too.",
                    "short",
                    {"{{method}} {{protocol}}": ten_minutes(ATTEMPTS, REJECTED, by="method, protocol")},
                    exemplars=True,
                )
            ),
            timeseries(
                "Logins against the usual",
                "Accepted in ten minutes. An attack leaves them as they are; a broken checker takes them "
                "away.",
                "short",
                {"accepted": f"sum({_LOGINS})", "usual": f"sum({_USUAL_LOGINS})"},
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
                    "0: served. 1: refused, or the client dropped out. 2: misused. 111: the checker has a "
                    "fault of its own, as a database that is down. signal: it crashed.",
                    "short",
                    {"{{status}}": ten_minutes(exits, by="status")},
                )
            ),
            timeseries(
                "Checker failures by host",
                "Logins refused for trouble of the checker, in ten minutes. The ten hosts with most.",
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
