"""The record, the line of descriptor 5, taken apart from the left by the grammar that record.py writes."""

import re
from typing import NamedTuple

RESULTS = {b"Accept": "accepted", b"Reject": "rejected"}

# Its writer sees to it that address and host hold no space and the host no colon, and cuts each at 255 bytes,
# a name too, with "..." behind it. So nothing that a client chose can end a field early.
_RECORD = re.compile(
    rb"qmail-popup: pid [0-9]{1,19}"
    rb" (?:(Accept|Reject)::AUTH::(User|Apop) P:(POP3S?)|(Reject)::STLS::(Any) P:(POP3))"
    rb" S:([!-~]{0,255}):([!-9;-~]{0,255})"
    rb" \?~ '((?:[^\x00-\x1f\x7f]{0,255}|[^\x00-\x1f\x7f]{255}\.\.\.))'"
).fullmatch


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
    if not (found := _RECORD(line)):
        return None
    login, tls, (ip, host, name) = found.group(1, 2, 3), found.group(4, 5, 6), found.group(7, 8, 9)
    result, method, protocol = login if login[0] else tls
    return Record(RESULTS[result], method.decode(), protocol.decode(), ip, host, name)
