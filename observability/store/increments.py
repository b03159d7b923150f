"""What one session adds to the series of families.py.

All sessions of a kind add to the same series, and kinds are few. So a batch counts kinds, and each kind's
series are put together once and then remembered. Pure: an event in, series and amounts out.
"""

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from observability.arrivals.log_sessions import Session
from observability.arrivals.parsing import KILLED, Event
from observability.store.families import (
    ATTEMPTS,
    DURATION,
    EVENTS,
    EXITS,
    FAILURES,
    HISTOGRAMS,
    LOG,
    OTHER,
    OVER,
    REFUSED,
    REJECTED,
    SESSIONS,
    STATUSES,
    SUM,
    TLS,
    TLS_VERSIONS,
    Family,
    Labels,
    Series,
)
from qmail_popup import reasons

_REMEMBERED = 1024  # kinds: of what real hosts send some fifty, of what anybody may send more
_BOUNDS = {family.name: [float(bound) for bound in family.buckets] for family in HISTOGRAMS}

ONE, SECONDS, AUTH_SECONDS = range(3)
Measures = tuple[int, float, float]
"""What sessions add, by those: their number, their durations, and the time of their logins."""

Increment = tuple[Series, int, int | None]
"""A series, which of the measures it gets, and which of the latest session's makes an exemplar, if any."""


class Kind(NamedTuple):
    """All that decides which series a session adds to."""

    ended: str
    protocol: str
    lasted: str | None  # the bucket of its duration
    tls: str | None
    result: str | None  # of its record, as method and the protocol in it
    method: str
    record_protocol: str
    reason: str | None
    refused_after: str | None  # a bucket, too
    exit: str | None


def kind(event: Event) -> tuple[Kind, Measures]:
    """Return a session's kind, and what it adds; of a hello as much as it tells."""
    record, lasted, took = event.record, event.duration, event.auth_duration
    found = Kind(
        event.ended or OTHER,
        event.protocol,
        None if lasted is None else _bucket(DURATION, lasted),
        event.tls if event.tls in _KNOWN_TLS else OTHER,
        record and record.result,
        record.method if record else "",
        record.protocol if record else "",
        event.reason,
        None if took is None else _bucket(REJECTED, took),
        _exit(event),
    )
    return found, (1, lasted or 0.0, took or 0.0)


@lru_cache(_REMEMBERED)
def of_killed(kind: Kind) -> tuple[Increment, ...]:
    """Count a session that went without a word."""
    return (((SESSIONS.name, KILLED, kind.protocol), ONE, None),)


@lru_cache(_REMEMBERED)
def of_session(kind: Kind) -> tuple[Increment, ...]:
    """Count a session, all but its record and what belongs to that."""
    found: list[Increment] = [((SESSIONS.name, kind.ended, kind.protocol), ONE, None)]
    if kind.ended != REFUSED:
        found += _observed(DURATION, (kind.ended, kind.protocol), kind.lasted, SECONDS)
    if kind.tls:
        found.append(((TLS.name, kind.tls), ONE, None))
    return (*found, *(() if kind.result else _exits(kind)))


@lru_cache(_REMEMBERED)
def of_record(kind: Kind) -> tuple[Increment, ...]:
    """Count a session's record, and the subprogram that it tells of."""
    if not kind.result:
        return ()
    login = kind.method, kind.record_protocol
    found: list[Increment] = [((ATTEMPTS.name, kind.result, *login), ONE, ONE)]
    if kind.result == "rejected":
        found.append(((FAILURES.name, kind.reason or reasons.CREDENTIALS, *login), ONE, None))
        found += _observed(REJECTED, (kind.record_protocol,), kind.refused_after, AUTH_SECONDS)
    return (*found, *_exits(kind))


def of_logged(result: str, method: str, protocol: str, reason: str) -> Iterator[Series]:
    """Count a record that was read from a log, each series once; reason: why, where it was refused."""
    yield EVENTS.name, LOG
    yield ATTEMPTS.name, result, method, protocol
    if result == "rejected":
        yield FAILURES.name, reason, method, protocol


def of_logged_session(session: Session) -> Iterator[tuple[Series, float]]:
    """Count a session of which a log told that it ended, and maybe how long it took."""
    labels = session.result or OTHER, session.protocol
    yield (SESSIONS.name, *labels), 1
    if session.seconds is not None:
        bucket = _bucket(DURATION, session.seconds)
        for series, what, _ in _observed(DURATION, labels, bucket, SECONDS):
            yield series, session.seconds if what == SECONDS else 1


def _observed(family: Family, labels: Labels, bucket: str | None, what: int) -> list[Increment]:
    """Return the series of a measurement in a bucket; what: which of the measures it is."""
    if bucket is None:
        return []
    return [((family.name, *labels, bucket), ONE, what), ((family.name, *labels, SUM), what, None)]


def _bucket(family: Family, seconds: float) -> str:
    bounds = _BOUNDS[family.name]
    at = bisect_left(bounds, seconds)
    return family.buckets[at] if at < len(bounds) else OVER


def _exits(kind: Kind) -> list[Increment]:
    return [((EXITS.name, kind.exit), ONE, None)] if kind.exit else []


def _exit(event: Event) -> str | None:
    if event.signal is not None:
        return "signal"
    return None if event.status is None else _STATUSES.get(event.status, OTHER)


_KNOWN_TLS = (*TLS_VERSIONS, "", None)
_STATUSES = {int(status): status for status in STATUSES}
