"""Plays the vectors against both forms of the popup.

Both are the same modules: they differ in how they start, and in when they import what. So the installed one
gets all vectors, and the checkout the basic ones and those of the start; or all as well, with VECTORS=all.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.conformance import handshake, lines, login, records, starting, tls
from tests.conformance.session import play
from tests.conformance.vector import Vector, read
from tests.conformance.verdict import complaints

_BASIC = [*read(Path(__file__).with_name("vectors.jsonl")), *starting.VECTORS]
VECTORS = [
    *_BASIC,
    *lines.VECTORS,
    *login.VECTORS,
    *records.VECTORS,
    *tls.VECTORS,
    *handshake.VECTORS,
]
_OF_CHECKOUT = VECTORS if os.environ.get("VECTORS") == "all" else _BASIC


def _name(vector: Vector) -> str:
    return vector.name


@pytest.mark.parametrize("vector", VECTORS, ids=_name)
def test_installed(vector: Vector, installed: Path) -> None:
    """All that comes of the session is as its vector has it."""
    assert [] == complaints(vector, play(vector, [str(installed / "bin/qmail-popup")]))


@pytest.mark.parametrize("vector", _OF_CHECKOUT, ids=_name)
def test_checkout(vector: Vector) -> None:
    """And so it is where nothing is installed."""
    assert [] == complaints(vector, play(vector, [sys.executable, "-m", "qmail_popup"]))


def test_each_vector_has_a_name_of_its_own() -> None:
    """A failing test id leads to one vector."""
    assert len(VECTORS) == len({vector.name for vector in VECTORS})
