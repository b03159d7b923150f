"""Parses the header that a load balancer sends first: PROXY protocol version 1 or 2.

Pure: bytes in, a value out (https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt). In version 2, what
follows the addresses (TLVs, including the checksum) is skipped.
"""

import socket
import struct
from typing import NamedTuple

from qmail_popup.listener.addresses import Address, read

_TEXT, _BINARY = b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"
_MAX_LINE = 107  # bytes of version 1, with CRLF, section 2.1
_MAX_PORT_DIGITS, _MAX_PORT = 5, 65535
_UNKNOWN = "UNKNOWN"
_FAMILIES = {"TCP4": socket.AF_INET, "TCP6": socket.AF_INET6}

_FIXED = struct.Struct("!12sBBH")  # signature, version and command, family and transport, length of the rest
_VERSION, _LOCAL, _PROXY = 2, 0, 1
_MAX_FAMILY, _MAX_TRANSPORT = 3, 2  # AF_UNIX, DGRAM
_ENDS = {
    0x11: (socket.AF_INET, struct.Struct("!4s4sHH")),
    0x21: (socket.AF_INET6, struct.Struct("!16s16sHH")),
}
_SIZES = {1: 12, 2: 36, 3: 216}  # bytes of the addresses, by family, section 2.2


class BadHeaderError(Exception):
    """The bytes are not a valid PROXY header."""


class Header(NamedTuple):
    """A complete header.

    size: in bytes
    ends: addresses of the client and of the server it connected to; None for the balancer's own connections
    and unknown clients (LOCAL, UNKNOWN, addresses other than TCP's)
    """

    size: int
    ends: tuple[Address, Address] | None


def parse(data: bytes | bytearray) -> Header | None:
    """Parse the header at the start of `data`; None if incomplete; BadHeaderError."""
    if data.startswith(_BINARY) or _BINARY.startswith(data):
        return _binary(data) if len(data) >= _FIXED.size else None
    if data.startswith(_TEXT) or _TEXT.startswith(data):
        return _text(data)
    raise BadHeaderError("it begins with something else")


def _text(data: bytes | bytearray) -> Header | None:
    """Parse version 1, section 2.1."""
    end = data.find(b"\n", 0, _MAX_LINE) + 1
    if not end and len(data) < _MAX_LINE:
        return None
    if data[end - 2 : end] != b"\r\n":
        raise BadHeaderError("its line does not end with CRLF")
    words = data[: end - 2].decode("latin-1").split(" ")
    if words[1] == _UNKNOWN:
        return Header(end, None)
    try:
        _, family, client, local, client_port, local_port = words
        version = _FAMILIES[family]
        return Header(end, (_end(version, client, client_port), _end(version, local, local_port)))
    except (KeyError, ValueError, OSError) as error:
        raise BadHeaderError("its line is malformed") from error


def _end(family: socket.AddressFamily, ip: str, port: str) -> Address:
    """Parse an address and a port; ValueError, OSError."""
    if not port.isascii() or not port.isdigit() or len(port) > _MAX_PORT_DIGITS or port != str(int(port)):
        raise ValueError(port)
    if int(port) > _MAX_PORT:
        raise ValueError(port)
    return _address(family, socket.inet_pton(family, ip), int(port))


def _address(family: socket.AddressFamily, ip: bytes, port: int) -> Address:
    return read((socket.inet_ntop(family, ip), port))


def _binary(data: bytes | bytearray) -> Header | None:
    """Parse version 2, section 2.2."""
    _, command, kind, length = _FIXED.unpack_from(data)
    if command not in (_VERSION << 4 | _LOCAL, _VERSION << 4 | _PROXY):
        raise BadHeaderError("it has another version, or an unknown command")
    size = _FIXED.size + length
    if command & 0xF == _LOCAL:
        return Header(size, None) if len(data) >= size else None
    family, transport = kind >> 4, kind & 0xF
    if family > _MAX_FAMILY or transport > _MAX_TRANSPORT or length < _SIZES.get(family, 0):
        raise BadHeaderError("its addresses are of an unknown kind, or cut short")
    if len(data) < size:
        return None
    return Header(size, _ends(data, kind))


def _ends(data: bytes | bytearray, kind: int) -> tuple[Address, Address] | None:
    if kind not in _ENDS:
        return None
    family, layout = _ENDS[kind]
    client, local, client_port, local_port = layout.unpack_from(data, _FIXED.size)
    return _address(family, client, client_port), _address(family, local, local_port)
