"""Extracts a certificate's names and validity. Pure: DER bytes in (RFC 5280 section 4.1), a value out.

Parses only the operator's own certificates, never a client's.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x17, 0x18
_VERSION, _EXTENSIONS, _DNS_NAME = 0xA0, 0xA3, 0x82  # context-specific
_COMMON_NAME, _ALTERNATIVE_NAMES = b"\x55\x04\x03", b"\x55\x1d\x11"  # 2.5.4.3, 2.5.29.17
_LONG = 0x80  # long form: the low bits count the length's bytes
_FORMATS = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}
_VALIDITY, _SUBJECT = 3, 4  # indexes, not counting the version

Item = tuple[int, bytes]


class Certificate(NamedTuple):
    """One certificate. names: host names in lower case, possibly with a wildcard."""

    names: list[str]
    begins: datetime
    ends: datetime


def read(der: bytes) -> Certificate:
    """Parse a certificate; ValueError, IndexError or KeyError if malformed."""
    (_, certificate), *_ = _items(der)
    (_, signed), *_ = _items(certificate)
    fields = [(tag, content) for tag, content in _items(signed) if tag != _VERSION]
    begins, ends = (_time(*moment) for moment in _items(fields[_VALIDITY][1]))
    names = list(_alternative_names(fields)) or list(_common_names(fields[_SUBJECT][1]))
    return Certificate([name.decode("latin-1").lower() for name in names], begins, ends)


def _items(data: bytes) -> Iterator[Item]:
    """Split a constructed value into tags and contents."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length >= _LONG:
            size = length - _LONG
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("it is cut short")
        yield tag, data[at : at + length]
        at += length


def _time(tag: int, text: bytes) -> datetime:
    """Parse a time; two-digit years start at 1969 in strptime, at 1950 in RFC 5280."""
    return datetime.strptime(text.decode("ascii"), _FORMATS[tag]).replace(tzinfo=UTC)


def _alternative_names(fields: list[Item]) -> Iterator[bytes]:
    """Yield the DNS names of subjectAltName (RFC 5280 section 4.2.1.6)."""
    for tag, wrapped in fields:
        if tag != _EXTENSIONS:
            continue
        (_, extensions), *_ = _items(wrapped)
        for _, extension in _items(extensions):
            (_, kind), *_, (_, value) = _items(extension)
            if kind == _ALTERNATIVE_NAMES:
                (_, names), *_ = _items(value)
                yield from (name for tag, name in _items(names) if tag == _DNS_NAME)


def _common_names(subject: bytes) -> Iterator[bytes]:
    """Yield the subject's common names, used if there is no subjectAltName."""
    for _, attributes in _items(subject):
        for _, attribute in _items(attributes):
            (_, kind), (_, value) = _items(attribute)
            if kind == _COMMON_NAME:
                yield value
