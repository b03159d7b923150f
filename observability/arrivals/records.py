"""Parses the record, the line of descriptor 5, as record.py writes it."""

import re

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


def record_groups(line: bytes) -> tuple[str, ...] | None:
    """Return the groups of FORM in the line of descriptor 5, without its newline; None if it is no record."""
    found = _RECORD(line.decode(BYTE_BY_BYTE))
    return found.groups() if found else None
