"""Strategies: what a client may say, and how the network may cut it."""

from itertools import pairwise

from hypothesis import strategies as st

_VERBS = [
    b"USER",
    b"PASS",
    b"APOP",
    b"STLS",
    b"CAPA",
    b"NOOP",
    b"QUIT",
    b"uSeR",
    b"pass",
    b"AUTH",
    b"",
    b"PAS",
    b"USERS",
]
_ENDS = [b"\n", b"\r\n", b"\r\r\n", b"\r", b""]

arguments = st.one_of(
    st.sampled_from(
        [b"", b"bob", b"b o b", b"bob digest", b"\0", b"' ?~ 'x", b"\xff\xfe", b"n" * 4085, b"n" * 4092]
    ),
    st.binary(max_size=12),
)
lines = st.builds(
    lambda verb, spaces, argument, end: verb + spaces + argument + end,
    st.sampled_from(_VERBS),
    st.sampled_from([b" ", b"", b"   ", b"\t"]),
    arguments,
    st.sampled_from(_ENDS),
)
_logins = st.sampled_from(
    [b"USER bob\r\nPASS secret\r\n", b"USER b\nPASS x\n", b"APOP b d\n", b"PASS x\n", b"STLS\r\n"]
)
streams = st.lists(_logins | lines | st.binary(max_size=20), max_size=8).map(b"".join)
"""Mostly lines that make sense, many that nearly do, and bytes of any kind between them."""

cuts = st.lists(st.integers(0, 6000), max_size=8)
"""Where the network cuts a stream, if it is that long."""


def cut(stream: bytes, where: list[int]) -> list[bytes]:
    """Return `stream` in pieces."""
    places = [0, *sorted(where), len(stream)]
    return [stream[start:end] for start, end in pairwise(places) if start < end]
