"""What is told from a hello without parsing it: never more than parsing it would tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability import event as contract
from observability.arrivals.hello import hello_trace, whole_session
from observability.arrivals.parsing import Event, parse
from observability.event import SEPARATOR, build
from tests.support.chance import examples
from tests.support.sidecar import fields, hello_of

TOLD = fields()
HELLO, EVENT = hello_of(TOLD), build(TOLD)
_START = b"V=1\0TRACE=%b\0PROTOCOL=POP3" % TOLD[b"TRACE"]
_ODD = b"A=" + b"x" * 40  # as long as the first two entries of a hello


def test_a_hello_as_popups_build_it_has_its_trace() -> None:
    """Any other block has to be parsed, an event too."""
    assert TOLD[b"TRACE"].decode() == hello_trace(HELLO.removesuffix(SEPARATOR))
    assert ["", ""] == [hello_trace(block.removesuffix(SEPARATOR)) for block in (EVENT, HELLO + b"x")]


@pytest.mark.parametrize("without", [None, b"SPAN", b"RECORD", b"T_START"])
def test_a_session_that_ends_at_once_is_its_event(without: bytes | None) -> None:
    """Whatever else its hello and its event hold both."""
    told = {name: value for name, value in TOLD.items() if name != without}
    hello = build({name: told[name] for name in hello_fields() if name in told})
    assert build(told).removesuffix(SEPARATOR) == whole_session(hello + build(told))


def hello_fields() -> list[bytes]:
    """Return the names in a hello."""
    return [name for name in contract.FIELDS if b"\0" + name + b"=" in HELLO]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HELLO,
        EVENT,
        (HELLO + EVENT)[:-1],
        HELLO + SEPARATOR + EVENT,
        hello_of(fields()) + EVENT,
        hello_of({**TOLD, b"PID": b"78"}) + EVENT,
        HELLO.replace(b"END=1", b"END=2") + EVENT,
        build({contract.TRACE: TOLD[b"TRACE"]}) + EVENT,
        HELLO.replace(b"V=1", b"V=2") + EVENT,
        # A hello that ends, that has an error, that ends twice, and one that does not begin as one.
        _START + b"\0ENDED=quit\0END=1\0\0" + _START + b"\0ENDED=quit\0TLS=x\0END=1\0\0",
        _START + b"\0ERROR=fork\0END=1\0\0" + _START + b"\0ERROR=fork\0ENDED=error\0END=1\0\0",
        _START + b"\0END=1\0END=1\0\0" + _START + b"\0END=1\0ENDED=quit\0END=1\0\0",
        _ODD + b"\0PROTOCOL=POP3\0END=1\0\0" + _ODD + b"\0" + _START + b"\0ENDED=quit\0END=1\0\0",
    ],
)
def test_anything_else_is_left_to_the_parser(data: bytes) -> None:
    """One of them alone, an incomplete one, and two that do not agree."""
    assert b"" == whole_session(data)


@examples(400)
@given(st.integers(0, len(HELLO)), st.integers(0, 40), st.binary(max_size=3))
def test_a_damaged_hello_makes_no_session(position: int, length: int, damage: bytes) -> None:
    """Or it is a hello that the parser takes, too, and of the same session."""
    hello = HELLO[:position] + damage + HELLO[position + length :]
    block = whole_session(hello + EVENT)
    if block and isinstance(parse(block), Event):
        told = parse(hello.partition(SEPARATOR)[0])
        assert isinstance(told, Event)
        assert (TOLD[b"TRACE"].decode(), True) == (told.trace, told.is_hello)
