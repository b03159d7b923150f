"""Plays every vector against both forms of the popup."""

from pathlib import Path

import pytest

from tests.conformance import handshake, lines, login, records, starting, tls
from tests.conformance.session import play
from tests.conformance.vector import Vector, read
from tests.conformance.verdict import complaints

VECTORS = [
    *read(Path(__file__).with_name("vectors.jsonl")),
    *starting.VECTORS,
    *lines.VECTORS,
    *login.VECTORS,
    *records.VECTORS,
    *tls.VECTORS,
    *handshake.VECTORS,
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector(vector: Vector, popup: list[str]) -> None:
    """All that comes of the session is as its vector has it."""
    assert [] == complaints(vector, play(vector, popup))


def test_each_vector_has_a_name_of_its_own() -> None:
    """A failing test id leads to one vector."""
    assert len(VECTORS) == len({vector.name for vector in VECTORS})
