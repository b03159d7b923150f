"""The metric families, as data.

A series is a tuple: the family's name, the label values, and for a histogram the bucket. Buckets are not
cumulative, and one more series holds the sum. increments.py defines what a session adds to them; prometheus/
and otlp/ define how families are exported.
"""

from itertools import product
from typing import NamedTuple

from observability.arrivals.parsing import KILLED, SOCKET, SPOOL
from observability.arrivals.records import RESULTS
from observability.event import ENDS, PROTOCOLS, REASONS, TLS_REQUIRED

OVER = "+Inf"
SUM = "sum"
OTHER = "other"
LOG = "log"

Series = tuple[str, ...]
Labels = tuple[str, ...]


class Family(NamedTuple):
    """One family; unit is UCUM's, with a counted thing in braces."""

    name: str  # /metrics adds the prefix qmail_popup_, and to a counter the suffix _total
    help: str
    unit: str
    labels: Labels = ()
    values: tuple[Labels, ...] = ((),)  # label values of the series that exist from the start
    buckets: tuple[str, ...] = ()

    def series(self) -> list[Series]:
        """Return all series that exist from the start."""
        ends = [(bound,) for bound in (*self.buckets, OVER, SUM)] if self.buckets else [()]
        return [(self.name, *labels, *end) for labels, end in product(self.values, ends)]


REFUSED = "refused"  # before the session began, so without a duration
_LASTED = tuple(end for end in ENDS if end != REFUSED)
_METHODS = ("User", "Apop")  # of a login; "Any" only for a refusal before TLS
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
STATUSES = ("0", "1", "2", "111")
_OUTCOMES = ("ok", "failed")


def _each(*values: str) -> tuple[Labels, ...]:
    return tuple((value,) for value in values)


ATTEMPTS = Family(
    "auth_attempts",
    "Login attempts, one for each record on descriptor 5.",
    "{attempt}",
    ("result", "method", "protocol"),
    (*product(RESULTS.values(), _METHODS, PROTOCOLS), ("rejected", "Any", "POP3")),
)
FAILURES = Family(
    "auth_failures",
    "Refused logins by reason; they sum to the rejected attempts.",
    "{failure}",
    ("reason", "method", "protocol"),
    (*product(REASONS, _METHODS, PROTOCOLS), (TLS_REQUIRED, "Any", "POP3")),
)
SESSIONS = Family(
    "sessions",
    "Connections by how they ended.",
    "{session}",
    ("ended", "protocol"),
    tuple(product((*ENDS, KILLED, OTHER), PROTOCOLS)),
)
EXITS = Family(
    "subprogram_exits", "How subprograms ended.", "{exit}", ("status",), _each(*STATUSES, OTHER, "signal")
)
TLS = Family(
    "tls_sessions", "Sessions with TLS, by version.", "{session}", ("version",), _each(*TLS_VERSIONS, OTHER)
)
EVENTS = Family(
    "telemetry_events",
    "Well-formed events that arrived, duplicates included.",
    "{event}",
    ("source",),
    _each(SOCKET, SPOOL, LOG),
)
DROPPED = Family(
    "telemetry_events_dropped",
    "Events that were not counted; a duplicate is not a loss.",
    "{event}",
    ("reason",),
    _each("malformed", "duplicate", "spool_full"),
)
SPANS_DROPPED = Family("telemetry_spans_dropped", "Spans that the queue or the collector refused.", "{span}")
PUSHES = Family("telemetry_pushes", "Pushes to the gateway.", "{push}", ("result",), _each(*_OUTCOMES))
LOG_LINES_LOST = Family(
    "telemetry_log_lines_lost", "Lines of the JSON log that could not be written.", "{line}"
)
TEXTFILE_WRITES = Family(
    "telemetry_textfile_writes", "Times the textfile was written.", "{write}", ("result",), _each(*_OUTCOMES)
)
COMMITS_FAILED = Family("telemetry_commits_failed", "Commits that failed; they are retried.", "{commit}")
PATHS_LOST = Family(
    "telemetry_paths_lost",
    "Files and directories in use that were found removed or replaced.",
    "{path}",
    ("path",),
    _each("state", "store_lock", "pusher_lock", "spool", "socket", "textfile"),
)
LOG_GAPS = Family(
    "telemetry_log_gaps", "Places in logs read by the sidecar where lines may have been missed.", "{gap}"
)
COUNTERS = (
    ATTEMPTS,
    FAILURES,
    SESSIONS,
    EXITS,
    TLS,
    EVENTS,
    DROPPED,
    SPANS_DROPPED,
    PUSHES,
    LOG_LINES_LOST,
    TEXTFILE_WRITES,
    COMMITS_FAILED,
    PATHS_LOST,
    LOG_GAPS,
)

DURATION = Family(
    "session_duration_seconds",
    "Time from a session's start to its end.",
    "s",
    ("ended", "protocol"),
    tuple(product((*_LASTED, OTHER), PROTOCOLS)),
    ("0.1", "0.5", "1.0", "5.0", "15.0", "60.0", "300.0", "1200.0"),
)
REJECTED = Family(
    "auth_rejected_duration_seconds",
    "Time from the credentials to their refusal.",
    "s",
    ("protocol",),
    _each(*PROTOCOLS),
    ("0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "30.0"),
)
HISTOGRAMS = (DURATION, REJECTED)

FAMILIES = COUNTERS + HISTOGRAMS
"""The families in the store."""

ACTIVE = Family("sessions_active", "Open connections.", "{session}")
SESSIONS_LIMIT = Family("sessions_limit", "Connections that the server allows.", "{session}")
LOGS_UNREADABLE = Family(
    "telemetry_logs_unreadable", "Log directories that cannot be read now.", "{directory}"
)
SPOOL_BYTES = Family("telemetry_spool_bytes", "Size of the events waiting in the spool.", "By")
LAST_EVENT = Family("telemetry_last_event_timestamp_seconds", "When an event last arrived.", "s")
BUILD = Family(
    "build_info", "Version of the sidecar and of Python.", "{build}", ("version", "python_version")
)
GAUGES = (ACTIVE, SESSIONS_LIMIT, LOGS_UNREADABLE, SPOOL_BYTES, LAST_EVENT, BUILD)
"""Families whose values are read when exported, and never stored."""

PUSHED = {True: (PUSHES.name, "ok"), False: (PUSHES.name, "failed")}
"""The series that counts a push, by whether it succeeded."""


def at_start() -> dict[Series, float]:
    """Return all series that exist from the start, at 0."""
    return {series: 0 for family in FAMILIES for series in family.series()}
