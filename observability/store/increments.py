"""What one session adds to the series of families.py. Pure: an event in, series and amounts out.

All sessions of a kind add to the same series, and there are few kinds. So a batch counts kinds, and each
kind's series are built once and cached.
"""

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from observability.arrivals.parsing import KILLED, Event, Words
from observability.arrivals.records import RESULT_OF
from observability.store.families import (
    ATTEMPTS,
    DURATION,
    EVENTS,
    EXITS,
    FAILURES,
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
_LASTED, _REFUSED_AFTER = ([float(bound) for bound in family.buckets] for family in (DURATION, REJECTED))

ONE, SECONDS, AUTH_SECONDS = range(3)
Measures = tuple[int, float, float]
"""Indexed by those: number of sessions, sum of durations, sum of login times."""

Increment = tuple[Series, int, int | None]
"""A series, the index of the measure added, and that of the exemplar's value, if it has one."""


Kind = tuple[tuple[str | None, ...], int | None, int | None]
"""Everything that determines which series a session adds to: its words, and the indices of two buckets.

The first is that of its duration, the second that of the time until its refusal.
"""


def kind(event: Event) -> tuple[Kind, Measures]:
    """Return the kind and the measures of a session, or of a hello as far as known."""
    words, lasted, took = event.outcome
    if words[-1] and words[-1] not in TLS_VERSIONS:  # kinds are remembered, so they must be short
        words = (*words[:-1], OTHER)
    kind = (
        words,
        None if lasted is None else bisect_left(_LASTED, lasted),
        None if took is None else bisect_left(_REFUSED_AFTER, took),
    )
    return kind, (1, lasted or 0.0, took or 0.0)


@lru_cache(_REMEMBERED)
def of_killed(kind: Kind) -> tuple[Increment, ...]:
    """Count a session that was killed."""
    return (((SESSIONS.name, KILLED, Words._make(kind[0]).protocol), ONE, None),)


@lru_cache(_REMEMBERED)
def of_session(kind: Kind) -> tuple[Increment, ...]:
    """Count a session without its record."""
    words, lasted = Words._make(kind[0]), kind[1]
    labels = words.ended or OTHER, words.protocol
    found: list[Increment] = [((SESSIONS.name, *labels), ONE, None)]
    if words.ended != REFUSED:
        found += _observed(DURATION, labels, lasted, SECONDS)
    if words.tls:
        found.append(((TLS.name, words.tls), ONE, None))
    return (*found, *(() if words.verdict else _exits(words)))


@lru_cache(_REMEMBERED)
def of_record(kind: Kind) -> tuple[Increment, ...]:
    """Count a session's record and its subprogram's exit."""
    words, refused_after = Words._make(kind[0]), kind[2]
    if not words.verdict:
        return ()
    result, login = RESULT_OF[words.verdict], (words.method, words.record_protocol)
    found: list[Increment] = [((ATTEMPTS.name, result, *login), ONE, ONE)]
    if result == "rejected":
        found.append(((FAILURES.name, words.reason or reasons.CREDENTIALS, *login), ONE, None))
        found += _observed(REJECTED, (words.record_protocol,), refused_after, AUTH_SECONDS)
    return (*found, *_exits(words))


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
        at = bisect_left(_LASTED, session.seconds)
        for series, what, _ in _observed(DURATION, labels, at, SECONDS):
            yield series, session.seconds if what == SECONDS else 1


def _observed(family: Family, labels: Labels, at: int | None, what: int) -> list[Increment]:
    """Return the increments of an observation in a histogram. at, what: indices of bucket and measure."""
    if at is None:
        return []
    bucket = (*family.buckets, OVER)[at]
    return [((family.name, *labels, bucket), ONE, what), ((family.name, *labels, SUM), what, None)]


def _exits(words: Words) -> list[Increment]:
    if words.signal:
        return [((EXITS.name, "signal"), ONE, None)]
    if not words.status:
        return []
    return [((EXITS.name, words.status if words.status in STATUSES else OTHER), ONE, None)]
