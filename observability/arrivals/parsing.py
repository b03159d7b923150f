"""Parses an event's block, and the record in it, strictly. Pure: bytes in, a value out.

Any process that can reach the socket or the spool may send anything, so a block must match the contract to
the byte: each known field has one format, and times never run backwards. Unknown names are ignored, so that
a newer popup can send more.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from observability import event
from observability.arrivals.patterns import AS_BUILT, PLACES, REQUIRED, Number, Text, Word
from observability.arrivals.records import BYTE_BY_BYTE, GROUPS, RESULT_OF, record_groups
from qmail_popup import reasons

SOCKET = "socket"
SPOOL = "spool"
KILLED = "killed"

REFUSAL_SECONDS = 10.0  # a checker refuses credentials within this time


class Malformed(NamedTuple):
    """An invalid block; says which part of the contract it breaks, never its contents."""

    reason: str


class Words(NamedTuple):
    """The words of an Event that decide how it is counted, as they were received."""

    protocol: str
    verdict: str | None  # Accept, Reject; this and the next two are of the record, None without one
    method: str
    record_protocol: str
    ended: str | None
    error: str | None
    reason: str | None
    status: str | None
    signal: str | None
    tls: str | None


class Event(tuple[Any, ...]):
    """A valid block: a hello, or the event at a session's end.

    Holds the groups of patterns.AS_BUILT as they are, and then the block itself. Of thousands a second most
    are only counted, so a value is converted when it is asked for. Times are nanoseconds since 1970, None if
    not reached or unknown.
    """

    __slots__ = ()

    trace = Word(event.TRACE)
    span = Text(event.SPAN)
    protocol = Word(event.PROTOCOL)
    pid = Number(event.PID)
    client_ip = Text(event.CLIENT_IP)
    client_host = Text(event.CLIENT_HOST)
    client_port = Number(event.CLIENT_PORT)
    local_ip = Text(event.LOCAL_IP)
    local_port = Number(event.LOCAL_PORT)
    start = Number(event.T_START)
    greeted = Number(event.T_GREETED)
    credentials = Number(event.T_CREDENTIALS)
    spawned = Number(event.T_SPAWNED)
    exited = Number(event.T_EXITED)
    ended_at = Number(event.T_ENDED)
    ended = Text(event.ENDED)
    error = Text(event.ERROR)
    reason = Text(event.REASON)
    status = Number(event.STATUS)
    signal = Number(event.SIGNAL)
    tls = Text(event.TLS)
    cipher = Text(event.CIPHER)

    @property
    def block(self) -> bytes:
        """The block as received, for forwarding."""
        received: bytes = self[-1]
        return received

    @property
    def result(self) -> str | None:
        """The record's result: accepted or rejected; None without a record."""
        return RESULT_OF.get(self[_RESULT])

    @property
    def method(self) -> str | None:
        """The record's method: User, Apop or Any; None without a record."""
        method: str | None = self[_METHOD]
        return method

    @property
    def user(self) -> bytes:
        """The record's user name; empty without a record."""
        return (self[_USER] or "").encode(BYTE_BY_BYTE)

    @property
    def outcome(self) -> tuple[tuple[str | None, ...], float | None, float | None]:
        """What is counted: the fields of Words, the duration, and that of a refused login."""
        words = self[_PROTOCOL], *self[_RESULT : _RESULT + 3], *self[_ENDED:_CIPHER]
        return words, self.duration, self.auth_duration if self[_RESULT] == _REJECT else None

    @property
    def identity(self) -> bytes:
        """Sixteen bytes that identify this session uniquely."""
        return bytes.fromhex(self[_TRACE])

    @property
    def session_span(self) -> str:
        """The ID of the session's span."""
        return event.session_span(self.trace)

    @property
    def is_hello(self) -> bool:
        """Whether this was sent before the session's end."""
        return self[_ENDED] is None

    @property
    def tls_version(self) -> str | None:
        """The bare version: 1.3 for TLSv1.3."""
        return (self.tls or "").lower().partition("v")[2] or None

    @property
    def duration(self) -> float | None:
        """Seconds from the session's start to its end."""
        start, end = self[_START], self[_ENDED_AT]
        return (int(end) - int(start)) / 1e9 if start and end else None

    @property
    def auth_duration(self) -> float | None:
        """Seconds from the credentials to the exit of the subprogram, or else to the session's end."""
        start, end = self[_CREDENTIALS], self[_EXITED] or self[_ENDED_AT]
        return (int(end) - int(start)) / 1e9 if start and end else None


Read = Callable[[bytes], Event | Malformed]
"""Parses one block, without the NULs after its last entry."""


class Arrival(NamedTuple):
    """A parsed block, and its source."""

    source: str  # SOCKET, SPOOL; or KILLED: the connection closed after this hello
    what: Event | Malformed


def parse(block: bytes, refusal_seconds: float = REFUSAL_SECONDS) -> Event | Malformed:
    """Parse one block.

    refusal_seconds: without a reason from the popup, a later refusal counts as the end of a mail session
    """
    if len(block) > event.LIMIT - len(event.SEPARATOR):
        return Malformed("too long")
    what = _as_built(block) or _read(block)
    if isinstance(what, Malformed) or what[_REASON] or what[_RESULT] != _REJECT:
        return what
    return _with_reason(what, refusal_seconds)


def _as_built(block: bytes) -> Event | None:
    """Parse a block at once; None if it has to be read entry by entry, which also finds what is wrong."""
    found = AS_BUILT(block.decode(BYTE_BY_BYTE))
    if not found:
        return None
    what = Event((*found.groups(), block))
    times = [time for time in what[_TIMES] if time]
    is_odd = what[_ERROR] or (what[_STATUS] and what[_SIGNAL])
    return None if is_odd or times != sorted(times) else what


def _read(block: bytes) -> Event | Malformed:
    """Parse entry by entry, in any order."""
    fields = _fields(block)
    if isinstance(fields, Malformed):
        return fields
    if not fields.keys() >= REQUIRED:
        return Malformed("a missing identity or protocol")
    for name, fits in _FITS.items():
        if name in fields and not fits(fields[name]):
            return Malformed(name.decode())
    return _checked(fields, block)


def _fields(block: bytes) -> dict[bytes, bytes] | Malformed:
    entries = block.split(b"\0")
    if entries[-1] != event.LAST:
        return Malformed("torn")
    try:
        fields = dict([entry.split(b"=", 1) for entry in entries])
    except ValueError:
        return Malformed("an entry without =")
    if len(fields) != len(entries):
        return Malformed("a name that occurs twice")
    if event.FIRST not in entries:
        return Malformed("a missing or unknown version")
    return fields


def _checked(fields: dict[bytes, bytes], block: bytes) -> Event | Malformed:
    """Make an event of values of valid format, unless they contradict each other."""
    values: list[str | None] = []
    for name in event.FIELDS:
        values.append(_text(name, fields[name]) if name in fields else None)
        if name == event.RECORD:
            groups = record_groups(fields[name]) if name in fields else _NO_RECORD
            if groups is None:
                return Malformed(name.decode())
            values += groups
    return _agreeing(Event((*values, block)))


def _text(name: bytes, value: bytes) -> str | None:
    """Return a value as an event holds it: numbers as digits."""
    held = event.FIELDS[name][1](value)
    return held if isinstance(held, str) or held is None else value.decode(BYTE_BY_BYTE)


def _agreeing(what: Event) -> Event | Malformed:
    """Check that the fields are consistent with each other."""
    if what.status is not None and what.signal is not None:
        return Malformed("both a status and a signal")
    if what.error and what.ended != "error":
        return Malformed("ERROR without ENDED=error")
    times = [int(time) for time in what[_TIMES] if time]
    return what if times == sorted(times) else Malformed("times that run backwards")


def _with_reason(what: Event, refusal_seconds: float) -> Event:
    """Add the reason of a refused login, as a popup of this version would send it."""
    late = (what.auth_duration or 0) > refusal_seconds
    if what[_METHOD] == "Any":
        reason = event.TLS_REQUIRED
    elif what.status is None and what.signal is None and not late:
        reason = reasons.CREDENTIALS
    else:
        reason = reasons.reason(what.status, what.signal, late=late)
    return Event((*what[:_REASON], reason, *what[_REASON + 1 :]))


_TRACE, _PROTOCOL, _RECORD = PLACES[event.TRACE], PLACES[event.PROTOCOL], PLACES[event.RECORD]
_RESULT, _METHOD, _USER = _RECORD + 1, _RECORD + 2, _RECORD + GROUPS
_START, _CREDENTIALS, _EXITED = PLACES[event.T_START], PLACES[event.T_CREDENTIALS], PLACES[event.T_EXITED]
_ENDED_AT, _TIMES = PLACES[event.T_ENDED], slice(PLACES[event.T_START], PLACES[event.T_ENDED] + 1)
_ENDED, _ERROR, _REASON = PLACES[event.ENDED], PLACES[event.ERROR], PLACES[event.REASON]
_STATUS, _SIGNAL, _CIPHER = PLACES[event.STATUS], PLACES[event.SIGNAL], PLACES[event.CIPHER]
_REJECT = "Reject"
_NO_RECORD = (None,) * GROUPS
_FITS = {name: re.compile(form.encode()).fullmatch for name, (form, _) in event.FIELDS.items() if form}
