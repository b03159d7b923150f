"""Event blocks as event.build() returns them, for a process that builds two for each session.

Sessions have few different sets of fields. So a format is kept for each set, which one `%` fills in.
"""

from collections.abc import Mapping
from functools import lru_cache

from observability import event

_MAX_FORMATS = 1000  # far more than there are ways in which a session can end
_NUMBERS = (int, event.port)


def block(facts: Mapping[bytes, bytes | int]) -> bytes:
    """Return the block of these facts, given in the order of event.FIELDS and none of them empty."""
    made = form(tuple(facts)) % tuple(facts.values())
    return made if len(made) <= event.LIMIT else event.build(facts)


@lru_cache(_MAX_FORMATS)
def form(names: tuple[bytes, ...]) -> bytes:
    """Return the format for the block of these fields."""
    entries = [b"%b=%%%b" % (name, b"d" if event.FIELDS[name][1] in _NUMBERS else b"b") for name in names]
    return b"\0".join([event.FIRST, *entries, event.LAST, b"\0"])
