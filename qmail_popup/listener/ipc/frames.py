"""Frames: everything a worker can send the spawner, validated as if a compromised worker had written it.

Pure: bytes in, a value out. A frame is one message of a SOCK_SEQPACKET socket: fixed fields in a fixed order
and, for a login, name and secret. It carries no environment variables, or a compromised worker could pass
LD_PRELOAD to a checker that runs as root. A login comes with one descriptor: the client's or, over TLS, one
end of a socket pair whose other end the worker keeps.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from qmail_popup.listener.addresses import Address
from qmail_popup.listener.tls.suites import CLEAR, SUITES, VERSIONS, Suite

BEGIN, LOGIN, END = 1, 2, 3
METHODS = (b"User", b"Apop")
# How a session ends before a login, in the event's words.
QUIT, DISCONNECTED, TIMEOUT = "quit", "disconnected", "timeout"
TLS_REQUIRED, TLS_FAILED, REFUSED = "tls_required", "tls_failed", "refused"
BAD_HEADER = "bad_header"  # invalid PROXY header; "disconnected" in the event
NO_HEADER = "no_header"  # no PROXY header in time; "timeout" in the event
ERROR = "error"  # socketpair(2) failed
ENDED = (QUIT, DISCONNECTED, TIMEOUT, TLS_REQUIRED, TLS_FAILED, REFUSED, BAD_HEADER, NO_HEADER, ERROR)

MAX_TEXT = 4096  # bytes of a name or secret: no line is longer
SLOTS = 256  # maximum number of workers; a session's number modulo SLOTS is its worker's slot
MIN_NUMBER = 4_194_304  # Linux's PID_MAX_LIMIT: a kill(2) of a session's number cannot hit a process

_WORDS = {BEGIN: 1, LOGIN: len(METHODS), END: len(ENDED)}  # number of words for each kind
_HEAD = struct.Struct("!BBQ16s8sqQQQQBB16sH16sHHH")
MAX_FRAME = _HEAD.size + 2 * MAX_TEXT
_MAX_NANOSECONDS = 1 << 62
_CHECKED = 12  # fields before the addresses, of which any is possible


class BrokenFrameError(Exception):
    """The message is not a valid frame; says which rule it breaks, never its contents."""


class Frame(NamedTuple):
    """A report about one session. Times are nanoseconds of CLOCK_MONOTONIC, 0 if not reached."""

    kind: int
    word: int  # index into METHODS for LOGIN, into ENDED for END, else 0
    number: int
    trace: bytes
    span: bytes
    origin: int  # added to a monotonic time, gives the time of day
    start: int
    greeted: int
    reached: int  # when the credentials were complete, or the session ended
    edition: int  # of the rules that admitted the client, 0 without rules
    tls: int  # index into VERSIONS
    suite: int  # index into SUITES
    client_ip: bytes
    client_port: int
    local_ip: bytes
    local_port: int
    name: bytes
    secret: bytearray | memoryview

    @property
    def client(self) -> Address:
        """The client's address."""
        return Address(self.client_ip, self.client_port)

    @property
    def local(self) -> Address:
        """The address that the client has connected to."""
        return Address(self.local_ip, self.local_port)

    @property
    def method(self) -> bytes:
        """The login method, one of METHODS."""
        return METHODS[self.word]

    @property
    def ended(self) -> str:
        """How the session ended, one of ENDED."""
        return ENDED[self.word]

    @property
    def protocol(self) -> bytes:
        """The protocol's name in the record."""
        return b"POP3" if self.tls == CLEAR else b"POP3S"

    @property
    def version(self) -> bytes:
        """The TLS version; empty without TLS."""
        return VERSIONS[self.tls]

    @property
    def cipher(self) -> Suite:
        """The cipher suite; its name is empty if unknown."""
        return SUITES[self.suite]


def head(frame: Frame) -> bytes:
    """Return a frame's fixed part; the sender appends name and secret unchanged."""
    return _HEAD.pack(*frame[:-2], len(frame.name), len(frame.secret))


def parse(data: memoryview, slot: int, now: int) -> Frame:
    """Parse a message from the worker in `slot`; BrokenFrameError. Copies the secret into its own buffer."""
    if len(data) < _HEAD.size:
        raise BrokenFrameError("a short frame")
    *fixed, name_size, secret_size = _HEAD.unpack_from(data)
    if len(data) != _HEAD.size + name_size + secret_size:
        raise BrokenFrameError("a frame with a wrong length")
    _check(fixed[:_CHECKED], slot, now)
    name = bytes(data[_HEAD.size : _HEAD.size + name_size])
    secret = bytearray(data[_HEAD.size + name_size :])
    frame = Frame._make((*fixed, name, secret))
    if frame.kind == LOGIN:
        _check_credentials(frame)
    elif name or secret:
        raise BrokenFrameError("a name without a login")
    return frame


def _check(fixed: Sequence[int], slot: int, now: int) -> None:
    """Check the fields before the addresses, as variables: to read a NamedTuple's attributes takes longer."""
    kind, word, number, _trace, _span, origin, start, greeted, reached, _edition, tls, suite = fixed
    if word >= _WORDS.get(kind, 0):
        raise BrokenFrameError("a frame of an unknown kind")
    if number <= MIN_NUMBER or number % SLOTS != slot:
        raise BrokenFrameError("a number that is not its own")
    greeted = greeted or start
    if not 0 < start <= greeted <= (reached or greeted) <= now:
        raise BrokenFrameError("times that run backwards")
    if not 0 < origin + start < _MAX_NANOSECONDS:
        raise BrokenFrameError("an invalid time of day")
    if tls >= len(VERSIONS) or suite >= (1 if tls == CLEAR else len(SUITES)):
        raise BrokenFrameError("TLS of an unknown kind")


def _check_credentials(frame: Frame) -> None:
    name, secret = frame.name, frame.secret
    if not 0 < len(name) <= MAX_TEXT or not 0 < len(secret) <= MAX_TEXT:
        raise BrokenFrameError("a name or secret that is empty or too long")
    if b"\0" in name or b"\0" in secret or not frame.reached:
        raise BrokenFrameError("a login that no client can have sent")
