"""The dashboard *Telemetry health*: whether the other dashboards can be trusted.

Owns its queries and texts, following the data: in, kept, out.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.colours import NONE_IS_GOOD, SPOOLED_BYTES
from dashboards.frame import frame
from dashboards.panels import Row, alerts, stacked, stat, table, timeseries
from dashboards.promql import grown, series, summed, ten_minutes, top

_EVENTS = "qmail_popup_telemetry_events_total"
_DROPPED = "qmail_popup_telemetry_events_dropped_total"
_LOST = 'reason=~"malformed|spool_full"'
_PUSHES = "qmail_popup_telemetry_pushes_total"
_FAILED = 'result="failed"'
_SPANS = "qmail_popup_telemetry_spans_dropped_total"
_LOG_LINES = "qmail_popup_telemetry_log_lines_lost_total"
_TEXTFILES = "qmail_popup_telemetry_textfile_writes_total"
_COMMITS = "qmail_popup_telemetry_commits_failed_total"
_PATHS = "qmail_popup_telemetry_paths_lost_total"
_LOG_GAPS = "qmail_popup_telemetry_log_gaps_total"
_UNREADABLE = "qmail_popup_telemetry_logs_unreadable"

_SEEN = f"present_over_time({series('qmail_popup_build_info')}[$__range])"
_UP = f"({series('up')} and on (job, instance) {_SEEN})"
"""Only our hosts: `job` can select every job that Prometheus scrapes."""
_SPOOL = series("qmail_popup_telemetry_spool_bytes")
_QUIET = f"time() - ({series('qmail_popup_telemetry_last_event_timestamp_seconds')} > 0)"
_SINCE_PUSH = f"time() - ({series('push_time_seconds')} and on (job, instance) {_SEEN})"

_HOST = "job, instance"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    rows = [_trust(), _intake(), _spool(), _out(), _hosts()]
    about = "Whether all that happens is counted, and arrives."
    return frame("qmail-popup-telemetry", "qmail-popup / Telemetry health", about, rows)


def _trust() -> Row:
    return Row(
        "Can these numbers be trusted?",
        [
            stat(
                "Sidecars down",
                "Hosts that are scraped and do not answer. Logins continue there and are counted later.",
                "short",
                f"sum({_UP} == bool 0)",
                NONE_IS_GOOD,
            ),
            stat(
                "Events lost",
                "In the time range: malformed, or the spool was full. These sessions are not counted "
                "anywhere.",
                "short",
                grown(_DROPPED, _LOST),
                NONE_IS_GOOD,
            ),
            stat(
                "In the spool",
                "Events that popups left because no sidecar answered. Beyond 64 MiB on a host, its events "
                "are lost.",
                "bytes",
                f"sum({_SPOOL})",
                SPOOLED_BYTES,
            ),
            stat(
                "Last event",
                "Time since any session was counted.",
                "s",
                f"min({_QUIET})",
            ),
            stat(
                "Pushes failed",
                "In the time range. Nothing is lost: the next push has all totals.",
                "short",
                grown(_PUSHES, _FAILED),
                NONE_IS_GOOD,
            ),
            stat(
                "Spans dropped",
                "In the time range: the collector refused them, or the queue was full.",
                "short",
                grown(_SPANS),
                NONE_IS_GOOD,
            ),
        ],
    )


def _intake() -> Row:
    return Row(
        "In: from popups to sidecars",
        [
            stacked(
                timeseries(
                    "Events by source",
                    "In ten minutes: from the socket, from the spool, or from a log that the sidecar reads.",
                    "short",
                    {"{{source}}": ten_minutes(_EVENTS, by="source")},
                )
            ).span(6),
            timeseries(
                "Events that did not count",
                "In ten minutes. malformed and spool_full are lost. A duplicate is not: it arrived "
                "twice and was counted once.",
                "short",
                {"{{reason}}": ten_minutes(_DROPPED, by="reason")},
            ).span(6),
            timeseries(
                "Other losses",
                "In ten minutes, except unreadable directories, which are those now. removed: paths in "
                "use that were removed or replaced. The next commit or textfile makes up for a failed "
                "one.",
                "short",
                {
                    "lines of the JSON log": ten_minutes(_LOG_LINES),
                    "textfile writes failed": ten_minutes(_TEXTFILES, _FAILED),
                    "commits failed": ten_minutes(_COMMITS),
                    "{{path}} removed": ten_minutes(_PATHS, by="path"),
                    "gaps in logs": ten_minutes(_LOG_GAPS),
                    "logs unreadable": f"sum({series(_UNREADABLE)}) or 0 * count({_SPOOL})",
                },
            ).span(6),
            alerts("Alerts", "Alerts that fire or are pending. Each links to its runbook."),
        ],
    )


def _spool() -> Row:
    return Row(
        "Kept: what waits, and what is quiet",
        [
            timeseries(
                "Spool by host",
                "It fills while the sidecar is down, and is empty seconds after its return. The ten fullest.",
                "bytes",
                {"{{instance}}": top(10, summed(_SPOOL, "instance"))},
            ),
            timeseries(
                "Time since the last event by host",
                "A host that is quiet for longer than the others has no users, or its popups send no "
                "events. The ten longest.",
                "s",
                {"{{instance}}": top(10, f"max by (instance) ({_QUIET})")},
            ),
        ],
    )


def _out() -> Row:
    return Row(
        "Out: to Prometheus, gateway and collector",
        [
            timeseries(
                "Scraped hosts",
                "Whether their sidecars answer.",
                "short",
                {"up": f"sum({_UP})", "down": f"sum({_UP} == bool 0)"},
            ).span(6),
            timeseries(
                "Pushes",
                "In ten minutes, as counted by the hosts that push.",
                "short",
                {"{{result}}": ten_minutes(_PUSHES, by="result")},
            ).span(6),
            timeseries(
                "Time since the last push by host",
                "Hosts push every 15 s. A host that pushes on demand is quiet between its sessions.",
                "s",
                {"{{instance}}": top(10, f"max by (instance) ({_SINCE_PUSH})")},
            ).span(6),
            timeseries(
                "Spans dropped by host",
                "In ten minutes: the collector refused them, or the queue was full. The ten hosts with "
                "the most.",
                "short",
                {"{{instance}}": top(10, ten_minutes(_SPANS, by="instance"))},
            ).span(6),
        ],
    )


def _hosts() -> Row:
    return Row(
        "Hosts",
        [
            table(
                "Hosts in this time range",
                "events, lost, failed pushes and dropped spans are those in the time range, the rest "
                "those at its end.",
                {
                    "lost": grown(_DROPPED, _LOST, by=_HOST),
                    "events": grown(_EVENTS, by=_HOST),
                    "in the spool": summed(_SPOOL, _HOST),
                    "since last event": f"max by ({_HOST}) ({_QUIET})",
                    "since last push": f"max by ({_HOST}) ({_SINCE_PUSH})",
                    "pushes failed": grown(_PUSHES, _FAILED, by=_HOST),
                    "spans dropped": grown(_SPANS, by=_HOST),
                },
                {"in the spool": "bytes", "since last event": "s", "since last push": "s"},
            ).span(16),
            timeseries(
                "Versions",
                "Hosts with each version of qmail-popup, and of Python.",
                "short",
                {
                    "{{version}}, Python {{python_version}}": (
                        f"count by (version, python_version) ({series('qmail_popup_build_info')})"
                    )
                },
            ).span(8),
        ],
    )
