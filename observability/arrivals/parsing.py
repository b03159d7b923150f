"""What came from outside, read strictly: the block of an event, and the record inside it.

Whoever reaches the socket or the spool may send anything, so nothing is believed that does not fit the
contract to the byte: known names have one shape each, times never run backwards, and the record is taken
apart from the left by the grammar that record.py writes. Pure: bytes in, a value out. Unknown names are
ignored, so that a newer popup can say more.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from observability.event import LIMIT, SEPARATOR

ENDED = (
    b"accepted",
    b"rejected",
    b"crashed",
    b"tls_required",
    b"quit",
    b"disconnected",
    b"timeout",
    b"tls_failed",
    b"error",
)
PROTOCOLS = (b"POP3", b"POP3S")

# In the order in which a session reaches them.
TIMES = (b"T_START", b"T_GREETED", b"T_CREDENTIALS", b"T_SPAWNED", b"T_EXITED", b"T_ENDED")

_NUMBER = rb"0|[1-9][0-9]{0,18}"  # nineteen digits of nanoseconds reach the year 2286

_PATTERNS = {
    b"V": rb"1",
    b"TRACE": rb"[0-9a-f]{32}",
    b"SPAN": rb"[0-9a-f]{16}",
    b"ENDED": b"|".join(ENDED),
    b"ERROR": rb"fork|pipe|control",
    b"PROTOCOL": b"|".join(PROTOCOLS),
    b"PID": _NUMBER,
    b"STATUS": rb"[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5]",
    b"SIGNAL": rb"[1-9]|[1-9][0-9]|1[01][0-9]|12[0-7]",
    b"END": rb"1",
    **dict.fromkeys(TIMES, _NUMBER),
}
_SHAPES = {name: re.compile(pattern).fullmatch for name, pattern in _PATTERNS.items()}
_REQUIRED = {b"V", b"TRACE", b"PROTOCOL"}
# Its writer sees to it that address and host hold no space and the host no colon, and cuts each at 255 bytes,
# a name too, with "..." behind it. So nothing that a client chose can end a field early.
_RECORD = re.compile(
    rb"qmail-popup: pid [0-9]{1,19}"
    rb" (?:(Accept|Reject)::AUTH::(User|Apop) P:(POP3S?)|(Reject)::STLS::(Any) P:(POP3))"
    rb" S:([!-~]{0,255}):([!-9;-~]{0,255})"
    rb" \?~ '((?:[^\x00-\x1f\x7f]{0,255}|[^\x00-\x1f\x7f]{255}\.\.\.))'"
).fullmatch


class Malformed(NamedTuple):
    """What did not parse, and the part of the contract that it breaks (never what it held)."""

    reason: str


class Record(NamedTuple):
    """The line of descriptor 5, taken apart: its own words."""

    result: bytes  # Accept, Reject
    method: bytes  # User, Apop, Any
    protocol: bytes  # POP3, POP3S
    ip: bytes
    host: bytes
    name: bytes


class Event(NamedTuple):
    """One block that fits the contract: a hello, or the event at a session's end."""

    identity: bytes  # sixteen bytes that stand for this session, and no other
    fields: Mapping[bytes, bytes]
    record: Record | None

    @property
    def is_hello(self) -> bool:
        """Whether the session had not ended when this was sent."""
        return b"ENDED" not in self.fields

    def seconds(self, begin: bytes, *ends: bytes) -> float | None:
        """Seconds from begin to the first of ends that was reached; None where one of them was not."""
        end = next((self.fields[name] for name in ends if name in self.fields), None)
        if end is None or begin not in self.fields:
            return None
        return (int(end) - int(self.fields[begin])) / 1e9


class Arrival(NamedTuple):
    """What came in, and which way."""

    source: str  # SOCKET, SPOOL; or KILLED: a connection that ended after this hello
    what: Event | Malformed


SOCKET = "socket"
SPOOL = "spool"
KILLED = "killed"


def parse(block: bytes) -> Event | Malformed:
    """Read one block, without the NULs that follow its last entry; what is wrong with it, if anything is."""
    if len(block) > LIMIT - len(SEPARATOR):
        return Malformed("too long")
    entries = block.split(b"\0")
    if entries[-1] != b"END=1":
        return Malformed("torn")
    try:
        fields = dict([entry.split(b"=", 1) for entry in entries])
    except ValueError:
        return Malformed("an entry without =")
    if len(fields) != len(entries):
        return Malformed("a name that comes twice")
    return _checked(fields)


def parse_record(line: bytes) -> Record | None:
    """Take the line of descriptor 5 apart, without its newline; None where it is no record."""
    found = _RECORD(line)
    return Record(*(part for part in found.groups() if part is not None)) if found else None


def _checked(fields: dict[bytes, bytes]) -> Event | Malformed:
    """Check each value that we know, then what one alone cannot tell."""
    for name, fits in _SHAPES.items():
        if name in fields and not fits(fields[name]):
            return Malformed(name.decode())
    for reason, breaks in _RULES.items():
        if breaks(fields):
            return Malformed(reason)
    return _event(fields)


def _event(fields: dict[bytes, bytes]) -> Event | Malformed:
    identity = bytes.fromhex(fields[b"TRACE"].decode())
    if b"RECORD" not in fields:
        return Event(identity, fields, None)
    record = parse_record(fields[b"RECORD"])
    return Event(identity, fields, record) if record else Malformed("RECORD")


def _backwards(fields: dict[bytes, bytes]) -> bool:
    reached = [int(fields[name]) for name in TIMES if name in fields]
    return reached != sorted(reached)


_RULES: Mapping[str, Callable[[dict[bytes, bytes]], bool]] = {
    "no V, TRACE or PROTOCOL": lambda fields: not fields.keys() >= _REQUIRED,
    "STATUS and SIGNAL": lambda fields: b"STATUS" in fields and b"SIGNAL" in fields,
    "ERROR without ENDED=error": lambda fields: b"ERROR" in fields and fields.get(b"ENDED") != b"error",
    "times that run backwards": _backwards,
}
