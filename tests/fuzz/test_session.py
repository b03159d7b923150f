"""Sessions in forked children: whatever is said, and however it is cut, the rules hold."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from qmail_popup.protocol import MAX_LINE
from qmail_popup.session import Session
from qmail_popup.settings import Settings
from tests.fuzz.streams import cut, cuts, streams
from tests.support import descriptors
from tests.support.chance import examples
from tests.support.child import Child
from tests.support.descriptors import packet_pipe, socket_line

RECORD = re.compile(
    rb"qmail-popup: pid 7 (Accept|Reject)::(AUTH::(User|Apop)|STLS::Any) P:POP3S? "
    rb"S:[!-~]+:[!-~]+ \?~ '[^\0-\x1f\x7f]*'\n"
)
ANSWERS = st.sampled_from(
    [b"", b"\0", b"SSL_PROTOCOL=TLSv1.3\0\0", b"SSL_A=1\0PATH=x\0SSL_B=\0\0", b"SSL_A=1\0", b"\xff\0=\0\0"]
) | st.binary(max_size=40)
ENVIRONMENTS = st.fixed_dictionaries(
    {},
    optional={
        b"POP3AUTH": st.sampled_from([b"apop", b"+APOP", b"no"]),
        b"UCSPITLS": st.sampled_from([b"", b"!", b"-"]),
        b"QMAIL_POPUP_RESP_CODES": st.just(b"1"),
        b"TCPREMOTEIP": st.binary(max_size=300).filter(lambda text: b"\0" not in text),
        b"TCPREMOTEHOST": st.binary(max_size=300).filter(lambda text: b"\0" not in text),
        b"TCPLOCALPORT": st.sampled_from([b"110", b"995"]),
    },
)
SUBPROGRAMS = st.sampled_from([b"exit 0", b"exit 1", b"exit 2", b"kill -9 $$", b"exit 111"])
_FDS = {b"SSLCTLFD": b"10", b"SSLREADFD": b"11", b"SSLWRITEFD": b"12"}


@dataclass(frozen=True)
class Outcome:
    """All that is to be seen of a session."""

    clear: bytes
    secure: bytes
    log: list[bytes]
    errors: bytes
    ended: str
    handed: bytes


def outcome(
    environ: dict[bytes, bytes],
    script: bytes,
    pieces: Iterable[bytes],
    answer: bytes = b"",
    behind: bytes = b"",
) -> Outcome:
    """Say `pieces` to a session; `answer` and `behind` wait for it where it starts TLS."""
    line, reader, writer = socket_line()
    clear, far_clear, spare = socket_line()
    control, far_control, spare_control = socket_line()
    log, log_writer = packet_pipe()
    (errors, errors_writer), (handed, handed_writer) = os.pipe(), os.pipe()
    for sender, said in ((control, answer), (clear, behind)):
        sender.send(said)
        sender.end()

    def task() -> str:
        ticks = count(100)
        settings = Settings([b"pop.example.org", b"/bin/sh", b"-c", b"cat <&3 >&9; " + script], environ)
        return Session(settings, environ, pid=7, clock=lambda: next(ticks), log=5).run()

    fds = {0: reader, 1: writer, 2: errors_writer, 5: log_writer, 9: handed_writer}
    fds |= {10: far_control, 11: far_clear, 12: spare}
    with Child(task, fds) as child:
        descriptors.close({*fds.values(), spare_control})
        said = _talk(line, pieces)
        ended = child.result()
    seen = Outcome(said, clear.receive_all(), descriptors.writes(log), _all(errors), ended, _all(handed))
    for used in (line, clear, control):
        used.close()
    descriptors.close({log, errors, handed})
    return seen


def _talk(line: descriptors.Line, pieces: Iterable[bytes]) -> bytes:
    """Say the pieces one by one and half-close; all that comes back."""
    try:
        for piece in pieces:
            line.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the session is over, and what it said is still to be read
    line.end()
    return line.receive_all()


def _all(reader: int) -> bytes:
    return descriptors.Line(reader, -1).receive_all()


def check(seen: Outcome) -> None:
    """Hold an outcome against what is always true."""
    _check_replies(seen.clear + seen.secure)
    assert b"" == seen.errors
    assert len(seen.log) <= 1
    for line in seen.log:
        assert RECORD.fullmatch(line)
        assert len(line) < 4096
    if seen.handed:
        name, secret, stamp, rest = seen.handed.split(b"\0")
        assert name
        assert secret
        assert stamp.endswith(b"@pop.example.org>")
        assert b"" == rest
    assert (b"+OK starting TLS negotiation\r\n" in seen.clear) or b"" == seen.secure
    assert bool(seen.handed) == (seen.ended in ("accepted", "rejected", "crashed"))
    assert bool(seen.log) == (seen.ended in ("accepted", "rejected", "crashed", "tls_required"))


def _check_replies(said: bytes) -> None:
    """Every reply begins with its status and ends in CRLF; a list ends in a dot."""
    *lines, last = said.split(b"\r\n")
    assert b"" == last
    listing = False
    for line in lines:
        assert b"\n" not in line
        assert b"Traceback" not in line
        assert listing or line.startswith((b"+OK", b"-ERR "))
        listing = line != b"." if listing else line == b"+OK capability list follows"
    assert not listing


@examples(50)
@given(ENVIRONMENTS, SUBPROGRAMS, streams, cuts)
def test_a_session(environ: dict[bytes, bytes], script: bytes, stream: bytes, where: list[int]) -> None:
    """The rules hold, and the outcome is the same whole, byte by byte, and cut anywhere."""
    environ = environ | {b"PATH": b"/usr/bin:/bin"}
    whole = outcome(environ, script, [stream])
    check(whole)
    assert whole == outcome(environ, script, cut(stream, where))
    if len(stream) < 1000:
        assert whole == outcome(environ, script, [stream[at : at + 1] for at in range(len(stream))])


@examples(35)
@given(ENVIRONMENTS, SUBPROGRAMS, st.tuples(streams, streams, streams), ANSWERS, cuts)
def test_a_session_over_tls(
    environ: dict[bytes, bytes],
    script: bytes,
    said: tuple[bytes, bytes, bytes],
    answer: bytes,
    where: list[int],
) -> None:
    """The rules hold over TLS too, whatever was said and injected in clear and what the server answers."""
    before, injected, behind = said
    environ = environ | _FDS | {b"UCSPITLS": b"!", b"PATH": b"/usr/bin:/bin"}
    clear = before.replace(b"USER", b"NOOP").replace(b"APOP", b"NOOP") + b"\nSTLS\r\n" + injected
    whole = outcome(environ, script, [clear], answer, behind)
    check(whole)
    assert whole == outcome(environ, script, cut(clear, where), answer, behind)


@examples(10)
@given(
    st.binary(min_size=1, max_size=30).filter(lambda text: b"\n" not in text), st.integers(MAX_LINE, 200_000)
)
def test_a_line_that_is_too_long(begun: bytes, size: int) -> None:
    """Whatever it is made of, it is one line, and the one behind it is a line again."""
    line = (begun * (size // len(begun) + 2))[: size + 1]
    seen = outcome({}, b"exit 0", [line, b"\nNOOP\n"])
    assert b"+OK\r\n-ERR line too long\r\n+OK \r\n" == seen.clear
    assert "disconnected" == seen.ended
