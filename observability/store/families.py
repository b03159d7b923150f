"""The totals: which counters there are, and what one session adds to them.

Owns the words: a counter's key is its family and its label values with a space between, as it stands in
the store and, taken apart again, on /metrics. Pure: an event in, keys and amounts out. A histogram is one
counter for each bucket (what fell into that one alone) and one for the sum.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from observability.arrivals.parsing import ENDED, KILLED, PROTOCOLS, SOCKET, SPOOL, Event

OVER = "+Inf"
SUM = "sum"
RESULTS = {b"Accept": "accepted", b"Reject": "rejected"}


class Family(NamedTuple):
    """One family: its labels, the label values that exist from the start, and its buckets if it has any."""

    name: str  # on /metrics qmail_popup_ stands before it, and _total behind a counter
    help: str
    labels: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    buckets: tuple[str, ...] = ()

    def series(self) -> list[str]:
        """Return the keys of all series that exist from the start."""
        ends = [(bound,) for bound in (*self.buckets, OVER, SUM)] if self.buckets else [()]
        return [" ".join((self.name, *row, *end)) for row, end in product(self.rows, ends)]


_PROTOCOLS = tuple(word.decode() for word in PROTOCOLS)
_ENDED = tuple(word.decode() for word in ENDED)
_TLS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_STATUSES = ("0", "1", "2", "111")
_OTHER = "other"


def _single(*values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


ATTEMPTS = Family(
    "auth_attempts",
    "Login attempts, one for each record on descriptor 5.",
    ("result", "method", "protocol"),
    # Any stands only for a refusal before TLS.
    (*product(RESULTS.values(), ("User", "Apop"), _PROTOCOLS), ("rejected", "Any", "POP3")),
)
SESSIONS = Family(
    "sessions",
    "Connections, by how they ended.",
    ("ended", "protocol"),
    tuple(product((*_ENDED, KILLED), _PROTOCOLS)),
)
DURATION = Family(
    "session_duration_seconds",
    "Time from a session's start to its end.",
    ("ended", "protocol"),
    tuple(product(_ENDED, _PROTOCOLS)),
    ("0.1", "0.5", "1.0", "5.0", "15.0", "60.0", "300.0", "1200.0"),
)
REJECTED = Family(
    "auth_rejected_duration_seconds",
    "Time from the credentials to their refusal.",
    ("protocol",),
    _single(*_PROTOCOLS),
    ("0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "30.0"),
)
EXITS = Family(
    "subprogram_exits", "How subprograms ended.", ("status",), _single(*_STATUSES, _OTHER, "signal")
)
TLS = Family("tls_sessions", "Sessions with TLS, by version.", ("version",), _single(*_TLS, _OTHER))
EVENTS = Family(
    "telemetry_events",
    "Well-formed events that arrived, duplicates included.",
    ("source",),
    _single(SOCKET, SPOOL),
)
DROPPED = Family(
    "telemetry_events_dropped",
    "Events that did not count; a duplicate is no loss.",
    ("reason",),
    _single("malformed", "duplicate", "spool_full"),
)
SPANS_DROPPED = Family("telemetry_spans_dropped", "Spans that the queue or the collector refused.", (), ((),))
PUSHES = Family("telemetry_pushes", "Pushes to the gateway.", ("result",), _single("ok", "failed"))

# Whether a push went well, and the series that counts it.
PUSHED = {True: f"{PUSHES.name} ok", False: f"{PUSHES.name} failed"}

COUNTERS = (ATTEMPTS, SESSIONS, EXITS, TLS, EVENTS, DROPPED, SPANS_DROPPED, PUSHES)
HISTOGRAMS = (DURATION, REJECTED)
FAMILIES = COUNTERS + HISTOGRAMS

_BOUNDS = {family.name: [float(bound) for bound in family.buckets] for family in HISTOGRAMS}


# What one event adds to one counter: its key, how much, and what was measured where that makes an exemplar.
# A plain tuple, for an event has six of them.
Increment = tuple[str, float, float | None]


def at_start() -> dict[str, float]:
    """Return all series that can occur, at 0."""
    return {key: 0 for family in FAMILIES for key in family.series()}


def of_killed(hello: Event) -> Iterator[Increment]:
    """Count a session that went without a word."""
    yield f"{SESSIONS.name} {KILLED} {_word(hello, b'PROTOCOL')}", 1, None


def of_session(event: Event) -> Iterator[Increment]:
    """Count a session, all but its record and what belongs to that."""
    labels = f"{_word(event, b'ENDED')} {_word(event, b'PROTOCOL')}"
    yield f"{SESSIONS.name} {labels}", 1, None
    yield from _observed(DURATION, labels, event.seconds(b"T_START", b"T_ENDED"))
    if event.fields.get(b"TLS"):
        version = _word(event, b"TLS")
        yield f"{TLS.name} {version if version in _TLS else _OTHER}", 1, None
    if not event.record:
        yield from _exits(event)


def of_record(event: Event) -> Iterator[Increment]:
    """Count a session's record, and the subprogram that it tells of."""
    record = event.record
    if not record:
        return
    result, protocol = RESULTS[record.result], record.protocol.decode()
    yield f"{ATTEMPTS.name} {result} {record.method.decode()} {protocol}", 1, 1
    if result == "rejected":
        yield from _observed(REJECTED, protocol, event.seconds(b"T_CREDENTIALS", b"T_EXITED", b"T_ENDED"))
    yield from _exits(event)


def _exits(event: Event) -> Iterator[Increment]:
    if b"SIGNAL" in event.fields:
        yield f"{EXITS.name} signal", 1, None
    elif b"STATUS" in event.fields:
        status = _word(event, b"STATUS")
        yield f"{EXITS.name} {status if status in _STATUSES else _OTHER}", 1, None


def _observed(family: Family, labels: str, seconds: float | None) -> Iterator[Increment]:
    if seconds is None:
        return
    nearest = bisect_left(_BOUNDS[family.name], seconds)
    yield f"{family.name} {labels} {(*family.buckets, OVER)[nearest]}", 1, seconds
    yield f"{family.name} {labels} {SUM}", seconds, None


def _word(event: Event, name: bytes) -> str:
    # A free value is only ever compared with the words that we know.
    return event.fields[name].decode(errors="replace")
