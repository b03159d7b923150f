"""How much may be read: never a byte behind the line that hands descriptor 0 over, and as many as can be.

The model of a reader here keeps a buffer and takes no more than it is allowed: what it has taken when
descriptor 0 is handed over must end with that very line.
"""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail_popup.protocol import LOGIN, MAX_LINE, START_TLS, Authorization
from tests.support.authorization import authorization, told
from tests.support.chance import examples

SWITCHES = [
    tuple(name for name, on in zip(("apop", "stls", "tls"), row, strict=True) if on)
    for row in product((False, True), repeat=3)
]
SHORTEST = (b"USER u\n", b"PASS p\n", b"APOP a d\n", b"STLS\n", b"\n")
HANDS_OVER = (LOGIN, START_TLS)
LIMITS = (MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, MAX_LINE + 20)


class Reader:
    """Reads a stream as the limit lets it; counts its reads."""

    def __init__(self, state: Authorization, stream: bytes) -> None:
        self.state, self.stream, self.reads, self.line = state, stream, 0, b""

    def until_handed_over(self) -> bytes | None:
        """Read up to the line that hands descriptor 0 over; what was taken from behind it, if it came."""
        while True:
            line, end, rest = self.line.partition(b"\n")
            if end:
                self.line = rest
                if self.state.command(bytearray(line))[1] in HANDS_OVER:
                    return rest
            elif not self._read():
                return None

    def _read(self) -> bool:
        allowed = self.state.read_limit(bytearray(self.line[: MAX_LINE + 1]))
        assert allowed >= 1
        self.line, self.stream = self.line + self.stream[:allowed], self.stream[allowed:]
        self.reads += 1
        return len(self.stream) > 0 or b"\n" in self.line


def hands_over(state: Authorization, stream: bytes) -> bool:
    """Tell whether the very last byte of `stream` hands descriptor 0 over, and none before it does."""
    *lines, last = stream.split(b"\n")
    actions = [state.command(bytearray(line))[1] for line in lines]
    return not last and actions[-1] in HANDS_OVER and not set(actions[:-1]) & set(HANDS_OVER)


@pytest.mark.parametrize("switches", SWITCHES, ids=" ".join)
@pytest.mark.parametrize("user", [b"", b"USER u\n"], ids=["no user", "a user"])
def test_the_read_limit_is_the_shortest_way(switches: tuple[str, ...], user: bytes) -> None:
    """From any beginning of a line, exactly as many bytes may be read as can hand over at the earliest."""
    behind = [b"", *SHORTEST, *(b"USER u\n" + line for line in SHORTEST)]
    ends = {line[start:] for line in SHORTEST for start in range(len(line))}
    ways = sorted({end + more for end in ends for more in behind}, key=len)
    limits = {verb + b"n" * (size - len(verb)) for verb in (b"PASS ", b"X") for size in LIMITS}
    for begun in limits | {line[:size] for line in (*SHORTEST, b"X", b"US\0") for size in range(len(line))}:
        state = authorization(*switches)
        told(state, *user.splitlines())
        shortest = next(way for way in ways if hands_over(authorization(*switches), user + begun + way))
        assert (begun, len(shortest)) == (begun, state.read_limit(bytearray(begun)))


@pytest.mark.parametrize("switches", SWITCHES, ids=" ".join)
def test_no_stream_of_short_pieces_is_read_ahead_of(switches: tuple[str, ...]) -> None:
    """All streams of up to three pieces: nothing behind the line that hands over is ever taken."""
    pieces = (*SHORTEST, b"USER u\r\n", b"PASS", b"PASS ", b"p\n", b"US", b"\0\n", b"APOP a", b" ")
    for stream in product((b"", *pieces), repeat=3):
        taken = Reader(authorization(*switches), b"".join(stream) + b"MORE" * 9).until_handed_over()
        assert taken in (None, b"")


@pytest.mark.parametrize("begun", [b"", b"X", b"USER ", b"PASS "])
@pytest.mark.parametrize("size", LIMITS)
def test_no_line_about_the_limit_is_read_ahead_of(begun: bytes, size: int) -> None:
    """A line that is as long as can be, or too long, hides no line that hands over behind it."""
    stream = begun + b"n" * (size - len(begun)) + b"\nUSER b\nPASS x\nMORE"
    reader = Reader(authorization("apop", "stls"), stream)
    assert b"" == reader.until_handed_over()
    assert b"MORE" == reader.stream


@examples(200)
@given(
    st.sampled_from(SWITCHES),
    st.lists(
        st.sampled_from([*SHORTEST, *b"USER PASS APOP STLS \r\n\0x".split(b" ")]) | st.binary(max_size=3)
    ),
)
def test_no_stream_is_read_ahead_of(switches: tuple[str, ...], stream: list[bytes]) -> None:
    """However lines are made up, nothing behind the line that hands over is ever taken."""
    assert Reader(authorization(*switches), b"".join(stream) + b"MORE" * 9).until_handed_over() in (None, b"")


@pytest.mark.parametrize(
    ("switches", "stream", "reads"),
    [
        ((), b"USER b\nPASS x\n", 1),
        ((), b"USER bob\r\nPASS secret\r\n", 8),
        (("apop",), b"APOP a b\n", 1),
        (("apop",), b"USER b\nPASS x\n", 2),
        (("stls",), b"STLS\n", 1),
        (("stls",), b"USER b\nSTLS\n", 3),
    ],
)
def test_few_reads_are_enough(switches: tuple[str, ...], stream: bytes, reads: int) -> None:
    """A login is not read a byte at a time."""
    reader = Reader(authorization(*switches), stream)
    assert b"" == reader.until_handed_over()
    assert reads == reader.reads
