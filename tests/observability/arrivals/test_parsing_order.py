"""The order of an event's fields: ours is read at once, any other one by one, and both alike."""

import random

from hypothesis import given
from hypothesis import strategies as st

from observability import event as contract
from observability.arrivals.parsing import Event, Malformed, parse
from tests.support.chance import examples
from tests.support.sidecar import RECORD, REJECTED, START, fields

_TIMES = [name for name in contract.FIELDS if name.startswith(b"T_")]
_ODD = st.one_of(st.binary(max_size=20), st.sampled_from([b"0", b"77", b"a\nb", RECORD, REJECTED["RECORD"]]))
_WORDS = {
    contract.PROTOCOL: st.sampled_from([b"POP3", b"POP3S", b"POP4"]),
    contract.ENDED: st.sampled_from([word.encode() for word in (*contract.ENDS, "killed")]),
    contract.REASON: st.sampled_from([word.encode() for word in (*contract.REASONS, "none")]),
    contract.STATUS: st.integers(0, 300).map(lambda number: b"%d" % number),
    **{name: st.integers(START, START + 9).map(lambda number: b"%d" % number) for name in _TIMES},
}
_values = st.fixed_dictionaries(
    {contract.TRACE: st.just(fields()[contract.TRACE])},
    optional={
        name: _WORDS.get(name, _ODD) | st.sampled_from([fields().get(name, b"x")])
        for name in contract.FIELDS
        if name != contract.TRACE
    },
)


def _block(told: dict[bytes, bytes], order: list[bytes]) -> bytes:
    return b"\0".join([contract.FIRST, *(name + b"=" + told[name] for name in order), contract.LAST])


@examples(400)
@given(_values, st.randoms(use_true_random=False))
def test_any_order_is_read_alike(told: dict[bytes, bytes], chance: random.Random) -> None:
    """Whatever the values are: the same event, or as little worth."""
    told = {name: value.replace(b"\0", b"") for name, value in told.items()}
    ours = [name for name in contract.FIELDS if name in told]
    other = ours.copy()
    chance.shuffle(other)
    first, second = parse(_block(told, ours)), parse(_block(told, other))
    if isinstance(first, Event) and isinstance(second, Event):
        assert first[:-1] == second[:-1]  # all but the block itself
    else:
        assert isinstance(first, Malformed) is isinstance(second, Malformed) is True


def test_a_field_that_comes_twice_in_our_order_is_malformed() -> None:
    """Reading at once takes none for another."""
    told = fields()
    ours = [name for name in contract.FIELDS if name in told]
    for name in ours:
        twice = ours.copy()
        twice.insert(ours.index(name), name)
        assert Malformed("a name that occurs twice") == parse(_block(told, twice))
