"""Parses the record, the line of descriptor 5, as record.py writes it."""

import re
from collections.abc import Sequence
from typing import NamedTuple

RESULTS = {b"Accept": "accepted", b"Reject": "rejected"}
RESULT_OF = {word.decode(): result for word, result in RESULTS.items()}

# The writer ensures that address and host contain no space and the host no colon, and cuts them and the name
# at 255 bytes, adding "..." to the name. So nothing that a client chose can end a field early.
FORM = (
    r"qmail-popup: pid [0-9]{1,19}"
    r" (?=(?:Accept|Reject)::AUTH::(?:User|Apop)|Reject::STLS::Any P:POP3 )"
    r"(Accept|Reject)::(?:AUTH|STLS)::(User|Apop|Any) P:(POP3S?)"
    r" S:([!-~]{0,255}):([!-9;-~]{0,255})"
    r" \?~ '((?:[^\x00-\x1f\x7f]{0,255}|[^\x00-\x1f\x7f]{255}\.\.\.))'"
)
GROUPS = 6  # in FORM: result, method, protocol, ip, host and name
BYTE_BY_BYTE = "latin-1"  # decodes each byte to one character
_RECORD = re.compile(FORM).fullmatch


class Record(NamedTuple):
    """A parsed record."""

    result: str  # accepted, rejected
    method: str  # User, Apop, Any
    protocol: str  # POP3, POP3S
    ip: bytes
    host: bytes
    name: bytes


def record_groups(line: bytes) -> tuple[str, ...] | None:
    """Return the groups of FORM in the line of descriptor 5, without its newline; None if it is no record."""
    found = _RECORD(line.decode(BYTE_BY_BYTE))
    return found.groups() if found else None


def record_of(groups: Sequence[str]) -> Record:
    """Return the record for these groups of FORM."""
    result, method, protocol, *of_client = groups
    ip, host, name = (value.encode(BYTE_BY_BYTE) for value in of_client)
    return Record(RESULT_OF[result], method, protocol, ip, host, name)
