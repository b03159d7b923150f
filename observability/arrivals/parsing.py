"""What came from outside, read strictly: the block of an event, and the record inside it.

Whoever reaches the socket or the spool may send anything, so nothing is believed that does not fit the
contract to the byte: known fields have one form each, and times never run backwards. Pure: bytes in, a value
out. Unknown names are ignored, so that a newer popup can say more.
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

REFUSAL_SECONDS = 10.0  # longer than that after the credentials no checker refuses them


class Malformed(NamedTuple):
    """What did not parse, and the part of the contract that it breaks (never what it held)."""

    reason: str


class Event(NamedTuple):
    """One block that fits the contract: a hello, or the event at a session's end.

    Its fields are event.FIELDS, in that order, and the block itself. Times are nanoseconds since 1970; what
    was not reached, or is not known, is None.
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
    block: bytes = b""  # as it came, for who hands it on

    @property
    def identity(self) -> bytes:
        """Sixteen bytes that stand for this session, and no other."""
        return bytes.fromhex(self.trace)

    @property
    def session_span(self) -> str:
        """The identity of the session's span."""
        return event.session_span(self.trace)

    @property
    def is_hello(self) -> bool:
        """Whether the session had not ended when this was sent."""
        return self.ended is None

    @property
    def tls_version(self) -> str | None:
        """The version alone: 1.3 of TLSv1.3."""
        return (self.tls or "").lower().partition("v")[2] or None

    @property
    def duration(self) -> float | None:
        """Seconds from the session's start to its end."""
        return _seconds(self.start, self.ended_at)

    @property
    def auth_duration(self) -> float | None:
        """Seconds from the credentials to the end of the subprogram, or else of the session."""
        return _seconds(self.credentials, self.ended_at if self.exited is None else self.exited)


Read = Callable[[bytes], Event | Malformed]
"""Reads one block, without the NULs that follow its last entry."""


class Arrival(NamedTuple):
    """What came in, and which way."""

    source: str  # SOCKET, SPOOL; or KILLED: a connection that ended after this hello
    what: Event | Malformed


def parse(block: bytes, refusal_seconds: float = REFUSAL_SECONDS) -> Event | Malformed:
    """Read one block; what is wrong with it, if anything is.

    refusal_seconds: after which a refusal, by a popup that gives no reason, was the end of a session
    """
    if len(block) > event.LIMIT - len(event.SEPARATOR):
        return Malformed("too long")
    # A fifth of the time that one by one takes; whatever does not fit is read so, and its mistake found.
    found = _AS_BUILT(block.decode(BYTE_BY_BYTE))
    what = _quickly(found.groups(), block) if found else _read(block)
    return what if isinstance(what, Malformed) else _with_reason(what, refusal_seconds)


def hello_trace(block: bytes) -> str:
    """Return the identity in a hello that is as popups build it, and nothing of all other blocks."""
    found = _HELLO(block) if len(block) < event.LIMIT else None
    return found[1].decode() if found else ""


def _read(block: bytes) -> Event | Malformed:
    """Read one entry after the other, in whatever order they come."""
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
    """Make an event of values that fit."""
    held: list[Any] = [
        None if value is None else read(value) for read, value in zip(_READERS, values, strict=True)
    ]
    what = Event._make([*held, block])
    if what.record is None and values[_RECORD_AT] is not None:
        return Malformed(event.RECORD.decode())
    return _agreeing(what)


def _quickly(found: Sequence[Any], block: bytes) -> Event | Malformed:
    """Make an event of texts whose form leaves open but what a number is; found: as _AS_BUILT finds them."""
    record, rest = found[_RECORD_AT : _RECORD_AT + GROUPS + 1], found[_RECORD_AT + GROUPS + 1 :]
    values: list[Any] = [*found[:_RECORD_AT], record_of(record[1:]) if record[0] else None, *rest, block]
    for at in _NUMBERS_AT:
        if values[at]:
            values[at] = int(values[at])
    return _agreeing(Event._make(values))


def _agreeing(what: Event) -> Event | Malformed:
    """Check what one field alone cannot tell."""
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
    """Return the form of a block as event.build makes it: each field at most once, in the table's order."""
    # Who finds a field never goes back to do without it: ?+ is faster than ?.
    fields = "".join(
        rf"(?:{name.decode()}=({_form(name)})\0){'' if name in _REQUIRED else '?+'}" for name in names
    )
    return rf"{event.FIRST.decode()}\0{fields}{event.LAST.decode()}"


def _form(name: bytes) -> str:
    """Return the form of a value that is read as what it is."""
    form, read = event.FIELDS[name]
    if form:
        return form
    return _ASCII if read is event.text else _PORT if read is event.port else FORM


def _with_reason(what: Event, refusal_seconds: float) -> Event:
    """Return an event that says why a login was refused, as a popup of this version would say it."""
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
