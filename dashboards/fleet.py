"""The dashboard *Fleet overview*: whether logins are served, and on which hosts they are not.

Owns its queries and texts, in the order in which an operator reads.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.colours import FAILED_SHARE, GOOD, USED_SHARE
from dashboards.frame import frame
from dashboards.panels import Row, alerts, shared_out, stacked, stat, table, timeseries
from dashboards.promql import (
    ACCEPTED,
    ATTEMPTS,
    BROKEN,
    FAILED,
    FAILURES,
    REJECTED,
    SESSIONS,
    grown,
    quantile,
    series,
    ten_minutes,
    top,
)

_LOGINS = ten_minutes(ATTEMPTS, ACCEPTED)
_FAILURES = ten_minutes(FAILURES, FAILED)
_RATIO = f"{_FAILURES} / ({ten_minutes(ATTEMPTS)} > 0)"
_RATIO_OF_HOST = (
    f"{ten_minutes(FAILURES, FAILED, by='instance')} / ({ten_minutes(ATTEMPTS, by='instance')} > 0)"
)
_FAILED_ABOUT = "refused for wrong credentials"

_OPEN = series("qmail_popup_sessions_active")
_ALLOWED = series("qmail_popup_sessions_limit")
_FULLNESS = f"{_OPEN} / ({_ALLOWED} > 0)"
_TURNED_AWAY = 'ended="refused"'
_DURATION = ("qmail_popup_session_duration_seconds_bucket", 'ended="accepted"')

_HOST = "job, instance"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    rows = [_now(), _logins(), _hosts(), _sessions(), _tls()]
    return frame(
        "qmail-popup-fleet", "qmail-popup / Fleet overview", "Logins, sessions and TLS of all hosts.", rows
    )


def _now() -> Row:
    return Row(
        "Now",
        [
            stat("Accepted", "Logins in ten minutes.", "short", _LOGINS, [(None, GOOD)]),
            stat("Failed", f"Attempts in ten minutes that were {_FAILED_ABOUT}.", "short", _FAILURES),
            stat(
                "Failed share",
                f"Of all attempts, the share that was {_FAILED_ABOUT}.",
                "percentunit",
                _RATIO,
                FAILED_SHARE,
            ),
            stat(
                "Open sessions",
                "Connections now. Hosts that push without a sidecar do not report them.",
                "short",
                f"sum({_OPEN})",
            ),
            stat(
                "Fullest host",
                "Its open sessions as a share of the server's limit, on hosts with --sessions-limit.",
                "percentunit",
                f"max({_FULLNESS})",
                USED_SHARE,
            ),
            stat(
                "Hosts",
                "Hosts that are scraped or push.",
                "short",
                f"count({series('qmail_popup_build_info')})",
            ),
        ],
    )


def _logins() -> Row:
    return Row(
        "Logins",
        [
            stacked(
                timeseries(
                    "Attempts to log in",
                    "In ten minutes: accepted, or refused by reason. credentials: a wrong name or password. "
                    "session: logged in, and the client disconnected. temporary, misuse, crashed: the "
                    "checker failed. tls_required: a login without TLS where TLS is required.",
                    "short",
                    {"accepted": _LOGINS, "{{reason}}": ten_minutes(FAILURES, by="reason")},
                )
            ).span(18),
            alerts("Alerts", "Alerts that fire or are pending. Each links to its runbook."),
            timeseries(
                "Failed share",
                f"Of all attempts, the share that was {_FAILED_ABOUT}. And the five hosts with the highest.",
                "percentunit",
                {"all hosts": _RATIO, "{{instance}}": top(5, _RATIO_OF_HOST)},
            ).span(8),
            stacked(
                timeseries(
                    "Attempts by method",
                    "In ten minutes, as in the record. Any is a login that was refused because TLS was "
                    "not on.",
                    "short",
                    {
                        "{{method}} accepted": ten_minutes(ATTEMPTS, ACCEPTED, by="method"),
                        "{{method}} rejected": ten_minutes(ATTEMPTS, REJECTED, by="method"),
                    },
                )
            ).span(8),
            stacked(
                timeseries(
                    "Attempts by protocol",
                    "In ten minutes, as in the record: POP3S where TLS was on, by STLS too.",
                    "short",
                    {
                        "{{protocol}} accepted": ten_minutes(ATTEMPTS, ACCEPTED, by="protocol"),
                        "{{protocol}} rejected": ten_minutes(ATTEMPTS, REJECTED, by="protocol"),
                    },
                )
            ).span(8),
        ],
    )


def _hosts() -> Row:
    return Row(
        "Hosts",
        [
            timeseries(
                "Failed, by host",
                f"Attempts in ten minutes that were {_FAILED_ABOUT}. The ten hosts with the most.",
                "short",
                {"{{instance}}": top(10, ten_minutes(FAILURES, FAILED, by="instance"))},
            ),
            timeseries(
                "Accepted, by host",
                "Logins in ten minutes. The ten hosts with the most.",
                "short",
                {"{{instance}}": top(10, ten_minutes(ATTEMPTS, ACCEPTED, by="instance"))},
            ),
            table(
                "Hosts in this time range",
                "Each host over the time range. Open sessions and the share of the limit are those at its "
                "end.",
                {
                    "failed": grown(FAILURES, FAILED, by=_HOST),
                    "accepted": grown(ATTEMPTS, ACCEPTED, by=_HOST),
                    "failed share": (
                        f"{grown(FAILURES, FAILED, by=_HOST)} / ({grown(ATTEMPTS, by=_HOST)} > 0)"
                    ),
                    "checker failed": grown(FAILURES, BROKEN, by=_HOST),
                    "sessions": grown(SESSIONS, by=_HOST),
                    "open": f"sum by ({_HOST}) ({_OPEN})",
                    "limit used": f"sum by ({_HOST}) ({_FULLNESS})",
                },
                {"failed share": "percentunit", "limit used": "percentunit"},
            ),
        ],
    )


def _sessions() -> Row:
    return Row(
        "Sessions",
        [
            timeseries(
                "Open sessions",
                "Connections, and the limits of hosts with --sessions-limit.",
                "short",
                {"open": f"sum({_OPEN})", "allowed": f"sum({_ALLOWED})"},
            ),
            timeseries(
                "Fullest hosts",
                "Open sessions as a share of the server's limit. The five highest.",
                "percentunit",
                {"{{instance}}": top(5, _FULLNESS)},
            ),
            stacked(
                timeseries(
                    "How sessions end",
                    "In ten minutes. killed: the popup ended without an event. error: it could not fork, or "
                    "the like. refused: turned away by a rule or limit of qmail-popup-listener.",
                    "short",
                    {"{{ended}}": ten_minutes(SESSIONS, by="ended")},
                )
            ).span(8),
            timeseries(
                "Turned away, by host",
                "Connections in ten minutes that a rule or limit of qmail-popup-listener refused before a "
                "login. The ten hosts with the most.",
                "short",
                {"{{instance}}": top(10, ten_minutes(SESSIONS, _TURNED_AWAY, by="instance"))},
            ).span(8),
            timeseries(
                "How long accepted sessions last",
                "From the start of a connection to its end: p50 and p95.",
                "s",
                {"p50": quantile(0.5, *_DURATION), "p95": quantile(0.95, *_DURATION)},
            ).span(8),
        ],
    )


def _tls() -> Row:
    return Row(
        "TLS",
        [
            shared_out(
                timeseries(
                    "TLS versions",
                    "Of the sessions with TLS, the share of each version.",
                    "short",
                    {"{{version}}": ten_minutes("qmail_popup_tls_sessions_total", by="version")},
                )
            ).span(8),
            stacked(
                timeseries(
                    "Logins with TLS and without",
                    "Accepted logins in ten minutes: POP3S where TLS was on, by STLS too.",
                    "short",
                    {"{{protocol}}": ten_minutes(ATTEMPTS, ACCEPTED, by="protocol")},
                )
            ).span(8),
            timeseries(
                "No TLS where it was wanted",
                "In ten minutes. tls_failed: the handshake failed. tls_required: a login without TLS was "
                "refused.",
                "short",
                {"{{ended}}": ten_minutes(SESSIONS, 'ended=~"tls_failed|tls_required"', by="ended")},
            ).span(8),
        ],
    )
