"""What one session adds to the series of families.py. Pure: an event in, series and amounts out.

All sessions of a kind add to the same series, and there are few kinds. So a batch counts kinds, and each
kind's series are built once and cached.
"""

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

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

if TYPE_CHECKING:  # the others of its module parse logs, which few sidecars read
    from observability.arrivals.log_sessions import Session

_REMEMBERED = 1024  # kinds: real hosts send about fifty, but a hostile sender may send more
_BOUNDS = {family.name: [float(bound) for bound in family.buckets] for family in HISTOGRAMS}

ONE, SECONDS, AUTH_SECONDS = range(3)
Measures = tuple[int, float, float]
"""Indexed by those: number of sessions, sum of durations, sum of login times."""

Increment = tuple[Series, int, int | None]
"""A series, the index of the measure added, and that of the exemplar's value, if it has one."""


class Kind(NamedTuple):
    """Everything that determines which series a session adds to."""

    ended: str
    protocol: str
    lasted: str | None  # bucket of its duration
    tls: str | None
    result: str | None  # this, method and record_protocol come from its record
    method: str
    record_protocol: str
    reason: str | None
    refused_after: str | None  # bucket of the time until the refusal
    exit: str | None


def kind(event: Event) -> tuple[Kind, Measures]:
    """Return the kind and the measures of a session, or of a hello as far as known."""
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
    """Count a session that was killed."""
    return (((SESSIONS.name, KILLED, kind.protocol), ONE, None),)


@lru_cache(_REMEMBERED)
def of_session(kind: Kind) -> tuple[Increment, ...]:
    """Count a session without its record."""
    found: list[Increment] = [((SESSIONS.name, kind.ended, kind.protocol), ONE, None)]
    if kind.ended != REFUSED:
        found += _observed(DURATION, (kind.ended, kind.protocol), kind.lasted, SECONDS)
    if kind.tls:
        found.append(((TLS.name, kind.tls), ONE, None))
    return (*found, *(() if kind.result else _exits(kind)))


@lru_cache(_REMEMBERED)
def of_record(kind: Kind) -> tuple[Increment, ...]:
    """Count a session's record and its subprogram's exit."""
    if not kind.result:
        return ()
    login = kind.method, kind.record_protocol
    found: list[Increment] = [((ATTEMPTS.name, kind.result, *login), ONE, ONE)]
    if kind.result == "rejected":
        found.append(((FAILURES.name, kind.reason or reasons.CREDENTIALS, *login), ONE, None))
        found += _observed(REJECTED, (kind.record_protocol,), kind.refused_after, AUTH_SECONDS)
    return (*found, *_exits(kind))


def of_logged(result: str, method: str, protocol: str, reason: str) -> Iterator[Series]:
    """Yield the series to which a record from a log adds 1. reason: if it was refused."""
    yield EVENTS.name, LOG
    yield ATTEMPTS.name, result, method, protocol
    if result == "rejected":
        yield FAILURES.name, reason, method, protocol


def of_logged_session(session: "Session") -> Iterator[tuple[Series, float]]:
    """Count a session from a log, with its duration if known."""
    labels = session.result or OTHER, session.protocol
    yield (SESSIONS.name, *labels), 1
    if session.seconds is not None:
        bucket = _bucket(DURATION, session.seconds)
        for series, what, _ in _observed(DURATION, labels, bucket, SECONDS):
            yield series, session.seconds if what == SECONDS else 1


def _observed(family: Family, labels: Labels, bucket: str | None, what: int) -> list[Increment]:
    """Return the increments of an observation in a histogram. what: index of the measure."""
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
