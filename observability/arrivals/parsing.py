"""Parses an event's block, and the record in it, strictly. Pure: bytes in, a value out.

Any process that can reach the socket or the spool may send anything, so a block must match the contract to
the byte: each known field has one format, and times never run backwards. Unknown names are ignored, so that
a newer popup can send more.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from observability import event
from observability.arrivals.records import BYTE_BY_BYTE, FORM, GROUPS, Record, parse_record, record_of
from qmail_popup import reasons

SOCKET = "socket"
SPOOL = "spool"
KILLED = "killed"

REFUSAL_SECONDS = 10.0  # a checker refuses credentials within this time


class Malformed(NamedTuple):
    """An invalid block; says which part of the contract it breaks, never its contents."""

    reason: str


class Event(NamedTuple):
    """A valid block: a hello, or the event at a session's end.

    The fields are event.FIELDS, in that order, and the block itself. Times are nanoseconds since 1970, None
    if not reached or unknown.
    """

    trace: str
    span: str | None
    protocol: str
    pid: int | None
    client_ip: str | None
    client_host: str | None
    client_port: int | None
    local_ip: str | None
    local_port: int | None
    start: int | None
    greeted: int | None
    credentials: int | None
    spawned: int | None
    exited: int | None
    ended_at: int | None
    record: Record | None
    ended: str | None
    error: str | None
    reason: str | None
    status: int | None
    signal: int | None
    tls: str | None
    cipher: str | None
    block: bytes = b""  # as received, for forwarding

    @property
    def identity(self) -> bytes:
        """Sixteen bytes that identify this session uniquely."""
        return bytes.fromhex(self.trace)

    @property
    def session_span(self) -> str:
        """The ID of the session's span."""
        return event.session_span(self.trace)

    @property
    def is_hello(self) -> bool:
        """Whether this was sent before the session's end."""
        return self.ended is None

    @property
    def tls_version(self) -> str | None:
        """The bare version: 1.3 for TLSv1.3."""
        return (self.tls or "").lower().partition("v")[2] or None

    @property
    def duration(self) -> float | None:
        """Seconds from the session's start to its end."""
        return _seconds(self.start, self.ended_at)

    @property
    def auth_duration(self) -> float | None:
        """Seconds from the credentials to the exit of the subprogram, or else to the session's end."""
        return _seconds(self.credentials, self.ended_at if self.exited is None else self.exited)


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
    # Takes a fifth of the time of parsing field by field, which is the fallback and finds the error.
    found = _AS_BUILT(block.decode(BYTE_BY_BYTE))
    what = _quickly(found.groups(), block) if found else _read(block)
    return what if isinstance(what, Malformed) else _with_reason(what, refusal_seconds)


def hello_trace(block: bytes) -> str:
    """Return the trace ID of a hello exactly as popups build it; empty for any other block."""
    found = _HELLO(block) if len(block) < event.LIMIT else None
    return found[1].decode() if found else ""


def _read(block: bytes) -> Event | Malformed:
    """Parse entry by entry, in any order."""
    fields = _fields(block)
    if isinstance(fields, Malformed):
        return fields
    if not fields.keys() >= _REQUIRED:
        return Malformed("a missing identity or protocol")
    for name, fits in _FITS.items():
        if name in fields and not fits(fields[name]):
            return Malformed(name.decode())
    return _checked([fields.get(name) for name in event.FIELDS], block)


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


def _checked(values: list[bytes | None], block: bytes) -> Event | Malformed:
    """Convert values of valid format to an event."""
    held: list[Any] = [
        None if value is None else read(value) for read, value in zip(_READERS, values, strict=True)
    ]
    what = Event._make([*held, block])
    if what.record is None and values[_RECORD_AT] is not None:
        return Malformed(event.RECORD.decode())
    return _agreeing(what)


def _quickly(found: Sequence[Any], block: bytes) -> Event | Malformed:
    """Make an event from the groups of _AS_BUILT: their formats are valid, only numbers need converting."""
    record, rest = found[_RECORD_AT : _RECORD_AT + GROUPS + 1], found[_RECORD_AT + GROUPS + 1 :]
    values: list[Any] = [*found[:_RECORD_AT], record_of(record[1:]) if record[0] else None, *rest, block]
    for at in _NUMBERS_AT:
        if values[at]:
            values[at] = int(values[at])
    return _agreeing(Event._make(values))


def _agreeing(what: Event) -> Event | Malformed:
    """Check that the fields are consistent with each other."""
    if what.status is not None and what.signal is not None:
        return Malformed("both a status and a signal")
    if what.error and what.ended != "error":
        return Malformed("ERROR without ENDED=error")
    return Malformed("times that run backwards") if _runs_backwards(what) else what


def _runs_backwards(what: Event) -> bool:
    latest = 0
    for time in (what.start, what.greeted, what.credentials, what.spawned, what.exited, what.ended_at):
        if time is not None:
            if time < latest:
                return True
            latest = time
    return False


def _as_built(names: Iterable[bytes]) -> str:
    """Return a pattern for blocks as event.build() writes them: each field at most once, in order."""
    # A field that matched need not be tried without: possessive ?+ is faster than ?.
    fields = "".join(
        rf"(?:{name.decode()}=({_form(name)})\0){'' if name in _REQUIRED else '?+'}" for name in names
    )
    return rf"{event.FIRST.decode()}\0{fields}{event.LAST.decode()}"


def _form(name: bytes) -> str:
    """Return a pattern for values that need no checks beyond it."""
    form, read = event.FIELDS[name]
    if form:
        return form
    return _ASCII if read is event.text else _PORT if read is event.port else FORM


def _with_reason(what: Event, refusal_seconds: float) -> Event:
    """Add the reason of a refused login if missing, as a popup of this version would send it."""
    if what.reason or not what.record or what.record.result != "rejected":
        return what
    if what.record.method == "Any":
        return what._replace(reason=event.TLS_REQUIRED)
    late = (what.auth_duration or 0) > refusal_seconds
    if what.status is None and what.signal is None and not late:
        return what._replace(reason=reasons.CREDENTIALS)
    return what._replace(reason=reasons.reason(what.status, what.signal, late=late))


def _seconds(begin: int | None, end: int | None) -> float | None:
    return None if begin is None or end is None else (end - begin) / 1e9


_ASCII, _PORT = r"[\x01-\x7f]+", r"[0-9]{1,5}"
_FIELDS_OF_HELLO = list(event.FIELDS)[: list(event.FIELDS).index(event.T_START) + 1]
_REQUIRED = {event.TRACE, event.PROTOCOL}
_FITS = {name: re.compile(form.encode()).fullmatch for name, (form, _) in event.FIELDS.items() if form}
_READERS = [parse_record if name == event.RECORD else read for name, (_, read) in event.FIELDS.items()]
_RECORD_AT = list(event.FIELDS).index(event.RECORD)
_NUMBERS_AT = [at for at, (_, read) in enumerate(event.FIELDS.values()) if read in (int, event.port)]
_AS_BUILT = re.compile(_as_built(event.FIELDS)).fullmatch
_HELLO = re.compile(_as_built(_FIELDS_OF_HELLO).encode()).fullmatch
