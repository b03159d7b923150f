"""Frames: all that a worker can tell the spawner, and the checks that hold whoever wrote them.

Pure: bytes in, a value out. A frame is one message of a SOCK_SEQPACKET socket: fixed fields in a fixed order,
then, of a login, name and secret. There is no variable in it: a worker that was taken over must not be able
to hand LD_PRELOAD to a checker that runs as root. A login comes with one descriptor: its client's, or over
TLS one end of a socket pair whose other end the worker keeps.
"""

import struct
from typing import NamedTuple

from qmail_popup.listener.addresses import Address
from qmail_popup.listener.tls.suites import CLEAR, SUITES, VERSIONS, Suite

BEGIN, LOGIN, END = 1, 2, 3
METHODS = (b"User", b"Apop")
# How a session ends before a login, by the words of the event.
QUIT, DISCONNECTED, TIMEOUT = "quit", "disconnected", "timeout"
TLS_REQUIRED, TLS_FAILED, REFUSED = "tls_required", "tls_failed", "refused"
BAD_HEADER = "bad_header"  # a balancer's; to the event it is disconnected
NO_HEADER = "no_header"  # in time; to the event it is a timeout
ERROR = "error"  # no socket pair is to be had
ENDED = (QUIT, DISCONNECTED, TIMEOUT, TLS_REQUIRED, TLS_FAILED, REFUSED, BAD_HEADER, NO_HEADER, ERROR)

MAX_TEXT = 4096  # bytes of a name, and of a secret: no line is longer
SLOTS = 256  # workers at most; a number's remainder is its worker's
MIN_NUMBER = 4_194_304  # PID_MAX_LIMIT of Linux: nobody's kill(2) is to meet a process

_WORDS = {BEGIN: 1, LOGIN: len(METHODS), END: len(ENDED)}  # how many each kind has
_HEAD = struct.Struct("!BBQ16s8sqQQQQBB16sH16sHHH")
MAX_FRAME = _HEAD.size + 2 * MAX_TEXT
_MAX_NANOSECONDS = 1 << 62


class BrokenFrameError(Exception):
    """What came is no frame; says which rule it breaks, never what it held."""


class Frame(NamedTuple):
    """One session's news. Times are nanoseconds of CLOCK_MONOTONIC, 0 where not reached."""

    kind: int
    word: int  # of METHODS for a login, of ENDED for an end, else 0
    number: int
    trace: bytes
    span: bytes
    origin: int  # what makes a time of day of a monotonic one
    start: int
    greeted: int
    reached: int  # the credentials, or the end
    edition: int  # of the rules by which it was let in, 0 without
    tls: int  # place in VERSIONS
    suite: int  # place in SUITES
    client: Address
    local: Address
    name: bytes
    secret: bytearray | memoryview

    @property
    def method(self) -> bytes:
        """How the client logs in."""
        return METHODS[self.word]

    @property
    def ended(self) -> str:
        """How the session ended."""
        return ENDED[self.word]

    @property
    def protocol(self) -> bytes:
        """What the record calls it."""
        return b"POP3" if self.tls == CLEAR else b"POP3S"

    @property
    def version(self) -> bytes:
        """The version of TLS, or nothing."""
        return VERSIONS[self.tls]

    @property
    def cipher(self) -> Suite:
        """The cipher suite; its name is empty where it is not known."""
        return SUITES[self.suite]


def head(frame: Frame) -> bytes:
    """Return a frame's fixed part; name and secret follow it as they are."""
    return _HEAD.pack(*frame[:12], *frame.client, *frame.local, len(frame.name), len(frame.secret))


def parse(data: memoryview, slot: int, now: int) -> Frame:
    """Read one message of the worker in `slot`; BrokenFrameError. The secret gets a buffer of its own."""
    if len(data) < _HEAD.size:
        raise BrokenFrameError("a short frame")
    *fixed, ip, port, local_ip, local_port, name_size, secret_size = _HEAD.unpack_from(data)
    if len(data) != _HEAD.size + name_size + secret_size:
        raise BrokenFrameError("a frame of another length than it says")
    name = bytes(data[_HEAD.size : _HEAD.size + name_size])
    secret = bytearray(data[_HEAD.size + name_size :])
    frame = Frame._make((*fixed, Address(ip, port), Address(local_ip, local_port), name, secret))
    _check(frame, slot, now)
    return frame


def _check(frame: Frame, slot: int, now: int) -> None:
    if frame.word >= _WORDS.get(frame.kind, 0):
        raise BrokenFrameError("a frame of no known kind")
    if frame.number <= MIN_NUMBER or frame.number % SLOTS != slot:
        raise BrokenFrameError("a number that is not its own")
    reached = frame.reached or frame.greeted or frame.start
    if not 0 < frame.start <= (frame.greeted or frame.start) <= reached <= now:
        raise BrokenFrameError("times that run backwards")
    if not 0 < frame.origin + frame.start < _MAX_NANOSECONDS:
        raise BrokenFrameError("a time of day that is none")
    if frame.tls >= len(VERSIONS) or frame.suite >= (1 if frame.tls == CLEAR else len(SUITES)):
        raise BrokenFrameError("TLS of no known kind")
    _check_credentials(frame)


def _check_credentials(frame: Frame) -> None:
    if frame.kind != LOGIN:
        if frame.name or frame.secret:
            raise BrokenFrameError("a name without a login")
    elif not 0 < len(frame.name) <= MAX_TEXT or not 0 < len(frame.secret) <= MAX_TEXT:
        raise BrokenFrameError("a name or secret that is empty or too long")
    elif b"\0" in frame.name or b"\0" in frame.secret or not frame.reached:
        raise BrokenFrameError("a login that no client can have sent")
