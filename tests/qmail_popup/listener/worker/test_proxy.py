"""The PROXY header: good and bad ones of both versions, whole, byte by byte, and with more behind them."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail_popup.listener.addresses import Address, read
from qmail_popup.listener.worker.proxy import BadHeaderError, Header, parse

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_ADDRESSES4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack("!HH", 1234, 995)
_ADDRESSES6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack("!HH", 65535, 110)
)
_MAPPED = b"\0" * 10 + b"\xff\xff"
_MAPPED6 = _MAPPED + _ADDRESSES4[:4] + _MAPPED + _ADDRESSES4[4:8] + _ADDRESSES4[8:]
_TLVS = b"\x03\0\x04abcd\x20\0\x05\1\0\0\0\0"  # a checksum, and what is told of TLS
_ENDS4 = (read(("192.0.2.1", 1234)), read(("198.51.100.2", 995)))
_ENDS6 = (read(("2001:db8::1", 65535)), read(("2001:db8::2", 110)))
_REST = b"USER bob\r\nPASS x\r\n"
_LONGEST = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535".ljust(105, b"x") + b"\r\n"


def binary(command: int, kind: int, rest: bytes, length: int | None = None) -> bytes:
    """Return a header of version 2."""
    return _SIGNATURE + struct.pack("!BBH", command, kind, len(rest) if length is None else length) + rest


_GOOD: dict[str, tuple[bytes, tuple[Address, Address] | None]] = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 995\r\n", _ENDS4),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 65535 110\r\n", _ENDS6),
    "v1 TCP6, mapped": (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1234 995\r\n", _ENDS4),
    "v1 port 0": (
        b"PROXY TCP4 192.0.2.1 198.51.100.2 0 0\r\n",
        (_ENDS4[0]._replace(port=0), _ENDS4[1]._replace(port=0)),
    ),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN with more": (b"PROXY UNKNOWN 192.0.2.1 x\r\n", None),
    "v1 the longest": (_LONGEST, None),
    "v2 TCP4": (binary(0x21, 0x11, _ADDRESSES4), _ENDS4),
    "v2 TCP6": (binary(0x21, 0x21, _ADDRESSES6), _ENDS6),
    "v2 TCP6, mapped": (binary(0x21, 0x21, _MAPPED6), _ENDS4),
    "v2 TLVs": (binary(0x21, 0x11, _ADDRESSES4 + _TLVS), _ENDS4),
    "v2 the longest": (binary(0x21, 0x11, _ADDRESSES4.ljust(65535, b"\1")), _ENDS4),
    "v2 LOCAL": (binary(0x20, 0x00, b""), None),
    "v2 LOCAL with addresses": (binary(0x20, 0x11, _ADDRESSES4), None),
    "v2 LOCAL of no known family": (binary(0x20, 0xFF, b"xyz"), None),
    "v2 unspecified": (binary(0x21, 0x00, b""), None),
    "v2 unspecified with TLVs": (binary(0x21, 0x00, _TLVS), None),
    "v2 UDP": (binary(0x21, 0x12, _ADDRESSES4), None),
    "v2 Unix": (binary(0x21, 0x31, b"\0" * 216), None),
}


@pytest.mark.parametrize(("data", "ends"), _GOOD.values(), ids=_GOOD)
def test_a_good_header(data: bytes, ends: tuple[Address, Address] | None) -> None:
    """It is read with nothing and with anything behind it."""
    assert Header(len(data), ends) == parse(data)
    assert Header(len(data), ends) == parse(bytearray(data + _REST))


@pytest.mark.parametrize("data", [good for good, _ in _GOOD.values()], ids=_GOOD)
def test_a_cut_header(data: bytes) -> None:
    """However far it has come, the rest of it is waited for."""
    for size in [*range(min(len(data), 300)), len(data) - 1]:
        assert parse(data[:size]) is None


_BAD = {
    "a greeting of HTTP": b"GET / HTTP/1.0\r\n",
    "a command": b"USER bob\r\n",
    "TLS": b"\x16\x03\x01\x02\x00",
    "lower case": b"proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
    "v1 no CR": b"PROXY TCP4 192.0.2.1 198.51.100.2 1 22\n",
    "v1 too long": b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n",
    "v1 no end": b"PROXY UNKNOWN ".ljust(200, b"x"),
    "v1 nothing": b"PROXY \r\n",
    "v1 UDP": b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
    "v1 a port too few": b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
    "v1 a word too many": b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
    "v1 two spaces": b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
    "v1 a tab": b"PROXY TCP4\t192.0.2.1 198.51.100.2 1 2\r\n",
    "v1 a space at the end": b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
    "v1 a port too high": b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
    "v1 a port that is long": b"PROXY TCP4 192.0.2.1 198.51.100.2 1 222222222\r\n",
    "v1 a port with a zero": b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
    "v1 a negative port": b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
    "v1 no number": b"PROXY TCP4 192.0.2.1 198.51.100.2 x 2\r\n",
    "v1 a number of another script": "PROXY TCP4 192.0.2.1 198.51.100.2 \u0661 2\r\n".encode(),
    "v1 256": b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
    "v1 an octal": b"PROXY TCP4 192.0.02.1 198.51.100.2 1 2\r\n",
    "v1 three parts": b"PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n",
    "v1 IPv6 as IPv4": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    "v1 IPv4 as IPv6": b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
    "v1 two runs of colons": b"PROXY TCP6 2001::db8::1 2001:db8::2 1 2\r\n",
    "v1 a zone": b"PROXY TCP6 fe80::1%lo 2001:db8::2 1 2\r\n",
    "v1 brackets": b"PROXY TCP6 [2001:db8::1] [2001:db8::2] 1 2\r\n",
    "v1 a NUL": b"PROXY TCP4 192.0.2.1\0 198.51.100.2 1 2\r\n",
    "v2 another signature": b"\r\n\r\n\0\r\nQUIT\r" + b"\x21\x11\0\x0c" + _ADDRESSES4,
    "v2 version 1": binary(0x11, 0x11, _ADDRESSES4),
    "v2 version 3": binary(0x31, 0x11, _ADDRESSES4),
    "v2 no such command": binary(0x22, 0x11, _ADDRESSES4),
    "v2 no such family": binary(0x21, 0x41, _ADDRESSES4),
    "v2 no such transport": binary(0x21, 0x13, _ADDRESSES4),
    "v2 TCP4 cut short": binary(0x21, 0x11, _ADDRESSES4[:-1]),
    "v2 TCP6 with addresses of IPv4": binary(0x21, 0x21, _ADDRESSES4),
    "v2 Unix cut short": binary(0x21, 0x31, b"\0" * 215),
    "v2 no addresses": binary(0x21, 0x11, b""),
}


@pytest.mark.parametrize("data", _BAD.values(), ids=_BAD)
def test_a_bad_header(data: bytes) -> None:
    """It is told from one that has not come whole, with anything behind it."""
    for more in (b"", _REST):
        with pytest.raises(BadHeaderError):
            parse(data + more)


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ::", _SIGNATURE, _SIGNATURE + b"\x21"]),
    st.binary(),
)
def test_anything(start: bytes, rest: bytes) -> None:
    """Whatever comes, it is a header, the beginning of one, or a bad one; and a header ends within it."""
    try:
        header = parse(start + rest)
    except BadHeaderError:
        return
    assert header is None or len(start + rest) >= header.size
