"""Blocks are what event.build() makes, whatever a session has to tell."""

import pytest

from observability import event
from qmail_popup.listener.spawner.blocks import block

_Facts = dict[bytes, bytes | int]

_HELLO: _Facts = {
    event.TRACE: b"a" * 32,
    event.SPAN: b"b" * 16,
    event.PROTOCOL: b"POP3",
    event.CLIENT_IP: b"192.0.2.1",
    event.CLIENT_PORT: 49152,
    event.LOCAL_IP: b"2001:db8::1",
    event.LOCAL_PORT: 110,
    event.T_START: 1_795_859_981_000_000_000,
}
_EVERYTHING: _Facts = {
    name: b"100% %d %b" if read in (bytes, event.text, event.word) else 1_795_859_981_000_000_000 + at
    for at, (name, (_form, read)) in enumerate(event.FIELDS.items())
}


@pytest.mark.parametrize(
    "facts", [_HELLO, {**_HELLO, event.STATUS: 0}, _EVERYTHING], ids=("hello", "0", "all")
)
def test_as_built(facts: _Facts) -> None:
    """They are the same to the byte."""
    assert event.build(facts) == block(facts)


def test_the_values_change() -> None:
    """A set of fields that came before is filled with the values of now."""
    later: _Facts = {**_HELLO, event.TRACE: b"c" * 32, event.CLIENT_PORT: 49153}
    assert [event.build(facts) for facts in (_HELLO, later)] == [block(facts) for facts in (_HELLO, later)]


def test_too_long() -> None:
    """What is too long leaves out what event.build() leaves out."""
    facts: _Facts = {**_HELLO, event.RECORD: b"r" * 1000, event.CIPHER: b"c" * event.LIMIT}
    assert event.build(facts) == block(facts)
    assert len(block(facts)) < event.LIMIT
