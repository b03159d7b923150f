"""The dashboard *Fleet overview*: whether logins are served, and on which host they are not.

Owns its queries and words, in the order in which an operator reads.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.colours import GOOD, REFUSED_SHARE, USED_SHARE
from dashboards.frame import frame
from dashboards.panels import Row, alerts, columns, number, shared_out, stacked, timelines
from dashboards.promql import (
    ACCEPTED,
    ATTEMPTS,
    REFUSED,
    REJECTED,
    SESSIONS,
    a_minute,
    grown,
    quantile,
    series,
    top,
)

_LOGINS = a_minute(ATTEMPTS, ACCEPTED)
_REFUSALS = a_minute(*REFUSED)
_DROPPED_OUT = f"clamp_min({a_minute(ATTEMPTS, REJECTED)} - {_REFUSALS}, 0)"
_RATIO = f"{_REFUSALS} / ({a_minute(ATTEMPTS)} > 0)"
_RATIO_OF_HOST = f"{a_minute(*REFUSED, by='instance')} / ({a_minute(ATTEMPTS, by='instance')} > 0)"
_REFUSED_ABOUT = "refused within 10 s: a wrong password, or a checker that fails"

_OPEN = series("qmail_popup_sessions_active")
_ALLOWED = series("qmail_popup_sessions_limit")
_FULLNESS = f"{_OPEN} / ({_ALLOWED} > 0)"
_DURATION = ("qmail_popup_session_duration_seconds_bucket", 'ended="accepted"')

_HOST = "job, instance"


def dashboard() -> Dashboard:
    """Return it."""
    rows = [_now(), _logins(), _hosts(), _sessions(), _tls()]
    return frame(
        "qmail-popup-fleet", "qmail-popup / Fleet overview", "Logins, sessions and TLS of all hosts.", rows
    )


def _now() -> Row:
    return Row(
        "Now",
        [
            number("Accepted", "Logins a minute.", "cpm", _LOGINS, [(None, GOOD)]),
            number("Refused", f"Attempts a minute that were {_REFUSED_ABOUT}.", "cpm", _REFUSALS),
            number(
                "Refusal ratio",
                f"Of all attempts, the share that was {_REFUSED_ABOUT}.",
                "percentunit",
                _RATIO,
                REFUSED_SHARE,
            ),
            number(
                "Open sessions",
                "Connections now. Hosts that push without a sidecar do not know theirs.",
                "short",
                f"sum({_OPEN})",
            ),
            number(
                "Fullest host",
                "Its open sessions as a share of what its server allows; known where the sidecar was told "
                "--sessions-limit.",
                "percentunit",
                f"max({_FULLNESS})",
                USED_SHARE,
            ),
            number(
                "Hosts",
                "Hosts whose numbers arrive, scraped or pushed.",
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
                timelines(
                    "Attempts to log in",
                    f"Accepted; {_REFUSED_ABOUT}; or a Reject later than that: the session was served, and "
                    "its client dropped out.",
                    "cpm",
                    {"accepted": _LOGINS, "refused": _REFUSALS, "dropped out": _DROPPED_OUT},
                )
            ).span(18),
            alerts("Alerts", "What fires, or is about to. Each names its runbook."),
            timelines(
                "Refusal ratio",
                f"Of all attempts, the share that was {_REFUSED_ABOUT}. And the five hosts with the highest.",
                "percentunit",
                {"all hosts": _RATIO, "{{instance}}": top(5, _RATIO_OF_HOST)},
            ).span(8),
            stacked(
                timelines(
                    "Attempts by method",
                    "As in the record. Any is a login that was refused because TLS was not on.",
                    "cpm",
                    {
                        "{{method}} accepted": a_minute(ATTEMPTS, ACCEPTED, by="method"),
                        "{{method}} rejected": a_minute(ATTEMPTS, REJECTED, by="method"),
                    },
                )
            ).span(8),
            stacked(
                timelines(
                    "Attempts by protocol",
                    "As in the record: POP3S where TLS was on, by STLS too.",
                    "cpm",
                    {
                        "{{protocol}} accepted": a_minute(ATTEMPTS, ACCEPTED, by="protocol"),
                        "{{protocol}} rejected": a_minute(ATTEMPTS, REJECTED, by="protocol"),
                    },
                )
            ).span(8),
        ],
    )


def _hosts() -> Row:
    return Row(
        "Hosts",
        [
            timelines(
                "Refused, by host",
                f"Attempts a minute that were {_REFUSED_ABOUT}. The ten hosts with most.",
                "cpm",
                {"{{instance}}": top(10, a_minute(*REFUSED, by="instance"))},
            ),
            timelines(
                "Accepted, by host",
                "Logins a minute. The ten hosts with most.",
                "cpm",
                {"{{instance}}": top(10, a_minute(ATTEMPTS, ACCEPTED, by="instance"))},
            ),
            columns(
                "Hosts in this time range",
                "What happened on each host in the time range. Open sessions, and what is used of the "
                "limit, are of its end.",
                {
                    "refused": grown(*REFUSED, by=_HOST),
                    "accepted": grown(ATTEMPTS, ACCEPTED, by=_HOST),
                    "refused share": f"{grown(*REFUSED, by=_HOST)} / ({grown(ATTEMPTS, by=_HOST)} > 0)",
                    "checker failed": grown(
                        "qmail_popup_subprogram_exits_total", 'status=~"111|signal"', by=_HOST
                    ),
                    "sessions": grown(SESSIONS, by=_HOST),
                    "open": f"sum by ({_HOST}) ({_OPEN})",
                    "limit used": f"sum by ({_HOST}) ({_FULLNESS})",
                },
                {"refused share": "percentunit", "limit used": "percentunit"},
            ),
        ],
    )


def _sessions() -> Row:
    return Row(
        "Sessions",
        [
            timelines(
                "Open sessions",
                "Connections, and what the servers allow where the sidecars were told --sessions-limit.",
                "short",
                {"open": f"sum({_OPEN})", "allowed": f"sum({_ALLOWED})"},
            ),
            timelines(
                "Fullest hosts",
                "Open sessions as a share of what the server allows. The five hosts where it is highest.",
                "percentunit",
                {"{{instance}}": top(5, _FULLNESS)},
            ),
            stacked(
                timelines(
                    "How sessions end",
                    "killed: the popup was gone without a word. error: it could not fork, or the like.",
                    "cpm",
                    {"{{ended}}": a_minute(SESSIONS, by="ended")},
                )
            ),
            timelines(
                "How long accepted sessions last",
                "From the connection to its end: half of the sessions, and 95 of 100, are shorter than this.",
                "s",
                {"half": quantile(0.5, *_DURATION), "95 of 100": quantile(0.95, *_DURATION)},
            ),
        ],
    )


def _tls() -> Row:
    return Row(
        "TLS",
        [
            shared_out(
                timelines(
                    "TLS versions",
                    "Of the sessions with TLS, the share of each version.",
                    "cpm",
                    {"{{version}}": a_minute("qmail_popup_tls_sessions_total", by="version")},
                )
            ).span(8),
            stacked(
                timelines(
                    "Logins with TLS and without",
                    "Accepted logins: POP3S where TLS was on, by STLS too.",
                    "cpm",
                    {"{{protocol}}": a_minute(ATTEMPTS, ACCEPTED, by="protocol")},
                )
            ).span(8),
            timelines(
                "No TLS where it was wanted",
                "tls_failed: a handshake that came to nothing. tls_required: a login without TLS, refused.",
                "cpm",
                {"{{ended}}": a_minute(SESSIONS, 'ended=~"tls_failed|tls_required"', by="ended")},
            ).span(8),
        ],
    )
