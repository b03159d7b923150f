"""The rules of tcprules(1): who may connect, and with which variables. Pure: a file's bytes in, verdicts out.

Addresses are looked up in the order of `tcpserver -H -R`: rules for host names (`=host`) and users (`user@`)
never match. For IPv6 both forms are supported: ucspi-tcp6's (2001:0DB8:..., and a prefix as a string of bits)
and that of Debian's ucspi-tcp-ipv6 (2001:db8::1, and prefixes that end with a colon). The latter writes ::
also for one zero group, unlike RFC 5952; its way is looked up first, then the RFC's. A rule cannot set a
variable that the listener sets itself.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from qmail_popup.listener.addresses import ipv4, is_ipv4, numeric
from qmail_popup.listener.rules.cdb import BrokenCdbError, Cdb
from qmail_popup.listener.variables import is_fixed

_DENY, _SET = b"D", b"+"
_NAME, _IDENT = b"=", b"@"
_BITS4, _BITS6 = b"_", b"^"  # ucspi-tcp6's first byte of a prefix in bits
_ONES4 = b"abcdefghijklmnopqrstuvwxyz123456"  # a 1 bit, by its position
_FIRST_ONE6 = 0x60  # a 1 bit, plus the number of 1 bits before it
_MAX_VERDICTS = 4096  # cached: clients come again
MAX_RULE = 1 << 15  # bytes of a rule's variables


class BrokenRulesError(Exception):
    """The bytes are not valid rules; says why."""


class Verdict(NamedTuple):
    """Whether to refuse a connection, and the variables to set for it."""

    is_denied: bool
    variables: Mapping[bytes, bytes]


ALLOWED, DENIED = Verdict(is_denied=False, variables={}), Verdict(is_denied=True, variables={})


class Rules:
    """A compiled file of rules.

    unused: number of rules for host names or users; ignored: variables that a rule may not set
    """

    def __init__(self, data: bytes) -> None:
        """Validate all rules; BrokenRulesError."""
        self.unused, self.ignored = 0, set[bytes]()
        self._lengths: dict[bytes, set[int]] = {_BITS4: set(), _BITS6: set()}
        try:
            self._cdb = Cdb(data)
        except BrokenCdbError as error:
            raise BrokenRulesError(str(error)) from error
        for key, value in self._cdb:
            self._note(key, value)
        self._of = lru_cache(_MAX_VERDICTS)(self._look_up)

    def of(self, ip: bytes) -> Verdict:
        """Return the verdict for a client's address."""
        return self._of(ip)

    def _look_up(self, ip: bytes) -> Verdict:
        for key in self._keys(ip):
            if (value := self._cdb.get(key)) is not None:
                return _verdict(value)
        return ALLOWED

    def _note(self, key: bytes, value: bytes) -> None:
        if len(value) > MAX_RULE:
            raise BrokenRulesError(f"a rule is longer than {MAX_RULE} bytes")
        if key.startswith(_NAME) or _IDENT in key:
            self.unused += 1
        elif (lengths := self._lengths.get(key[:1])) is not None:
            lengths.add(len(key) - 1)
        self.ignored.update(name for name, _ in _set_by(value) if is_fixed(name))

    def _keys(self, ip: bytes) -> Iterator[bytes]:
        """Yield the keys under which a rule for this address may be stored, in order of precedence."""
        if is_ipv4(ip):
            texts, end, kind, bits = [numeric(ip)], b".", _BITS4, _bits4
        else:
            texts, end, kind, bits = [_compressed(ip), numeric(ip)], b":", _BITS6, _bits6
            yield ip.hex(":", 2).upper().encode()
        for text in texts:
            yield text
            yield from _prefixes(text, end)
        if lengths := self._lengths[kind]:
            whole = bits(ip)
            yield from (kind + whole[:length] for length in sorted(lengths, reverse=True))
        yield b""


def _verdict(value: bytes) -> Verdict:
    if _DENY in _instructions(value):
        return DENIED
    variables = {name: text for name, text in _set_by(value) if name and not is_fixed(name)}
    return Verdict(is_denied=False, variables=variables)


def _instructions(value: bytes) -> Iterable[bytes]:
    """Split a rule's value into its NUL-terminated instructions; BrokenRulesError."""
    *pieces, rest = value.split(b"\0")
    if rest or not all(piece == _DENY or (piece[:1] == _SET and b"=" in piece) for piece in pieces):
        raise BrokenRulesError("a rule has an instruction that tcprules does not write")
    return pieces


def _set_by(value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the variables that a rule sets, unfiltered."""
    for piece in _instructions(value):
        if piece.startswith(_SET):
            name, _, text = piece[1:].partition(b"=")
            yield name, text


def _compressed(ip: bytes) -> bytes:
    """Return an IPv6 address as ucspi-tcp-ipv6 prints it: the first of the longest zero runs is "::"."""
    groups = struct.unpack("!8H", ip)
    for count in range(len(groups), 0, -1):
        for start in range(len(groups) - count + 1):
            if not any(groups[start : start + count]):
                return _joined(groups[:start]) + b"::" + _joined(groups[start + count :])
    return _joined(groups)


def _joined(groups: Sequence[int]) -> bytes:
    return b":".join(b"%x" % group for group in groups)


def _prefixes(text: bytes, end: bytes) -> Iterator[bytes]:
    """Yield the prefixes that end with `end`, the longest first."""
    while (size := text.rfind(end) + 1) > 0:
        yield text[:size]
        text = text[: size - 1]


def _bits4(ip: bytes) -> bytes:
    number = int.from_bytes(ipv4(ip))
    return bytes(one if number >> (31 - place) & 1 else ord("0") for place, one in enumerate(_ONES4))


def _bits6(ip: bytes) -> bytes:
    bits, one = bytearray(), _FIRST_ONE6
    for bit in f"{int.from_bytes(ip):0128b}":
        bits.append(one if bit == "1" else ord("0"))
        one += bit == "1"
    return bytes(bits)
