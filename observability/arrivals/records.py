"""The record, the line of descriptor 5, taken apart from the left by the grammar that record.py writes."""

import re
from collections.abc import Sequence
from typing import NamedTuple

RESULTS = {b"Accept": "accepted", b"Reject": "rejected"}
_RESULTS = {word.decode(): result for word, result in RESULTS.items()}

# Its writer sees to it that address and host hold no space and the host no colon, and cuts each at 255 bytes,
# a name too, with "..." behind it. So nothing that a client chose can end a field early.
FORM = (
    r"qmail-popup: pid [0-9]{1,19}"
    r" (?:(Accept|Reject)::AUTH::(User|Apop) P:(POP3S?)|(Reject)::STLS::(Any) P:(POP3))"
    r" S:([!-~]{0,255}):([!-9;-~]{0,255})"
    r" \?~ '((?:[^\x00-\x1f\x7f]{0,255}|[^\x00-\x1f\x7f]{255}\.\.\.))'"
)
GROUPS = 9  # in FORM: result, method and protocol of a login, or of a refusal before TLS; ip, host, name
BYTE_BY_BYTE = "latin-1"  # reads bytes as text in which each is one character
_RECORD = re.compile(FORM).fullmatch


class Record(NamedTuple):
    """The line of descriptor 5, taken apart."""

    result: str  # accepted, rejected
    method: str  # User, Apop, Any
    protocol: str  # POP3, POP3S
    ip: bytes
    host: bytes
    name: bytes


def parse_record(line: bytes) -> Record | None:
    """Take the line of descriptor 5 apart, without its newline; None where it is no record."""
    found = _RECORD(line.decode(BYTE_BY_BYTE))
    return record_of(found.groups()) if found else None


def record_of(groups: Sequence[str]) -> Record:
    """Return the record of which FORM found these groups."""
    result, method, protocol, refused, before_tls, without_tls, ip, host, name = groups
    return Record(
        _RESULTS[result or refused],
        method or before_tls,
        protocol or without_tls,
        ip.encode(BYTE_BY_BYTE),
        host.encode(BYTE_BY_BYTE),
        name.encode(BYTE_BY_BYTE),
    )
