"""The one pattern for a block exactly as popups build it, and where each value is in its groups.

Made from event.FIELDS: each field at most once, in order. Matching the whole block takes a fifth of the time
of checking it field by field.
"""

import re
from collections.abc import Iterable
from typing import Any

from observability import event
from observability.arrivals.records import FORM, GROUPS

REQUIRED = frozenset({event.TRACE, event.PROTOCOL})

_NAMES = list(event.FIELDS)
_RECORD_AT = _NAMES.index(event.RECORD)
PLACES = {name: at + (GROUPS if at > _RECORD_AT else 0) for at, name in enumerate(_NAMES)}
"""The index of each field among the groups. The groups of the record follow the whole record."""


class Text:
    """An attribute of an event: its value of this name, which is text."""

    def __init__(self, name: bytes) -> None:
        self._at = PLACES[name]

    def __get__(self, what: tuple[Any, ...], _owner: type) -> str | None:
        value: str | None = what[self._at]
        return value


class Word(Text):
    """One that each event has."""

    def __get__(self, what: tuple[Any, ...], _owner: type) -> str:
        value: str = what[self._at]
        return value


class Number(Text):
    """One that is a number."""

    def __get__(self, what: tuple[Any, ...], _owner: type) -> int | None:  # type: ignore[override]
        value = what[self._at]
        return None if value is None else int(value)


_MOMENTS = _NAMES[_NAMES.index(event.T_START) : _NAMES.index(event.T_ENDED) + 1]
_ASCII, _PORT = r"[\x01-\x7f]+", r"[0-9]{1,5}"
_MOMENT = r"[1-9][0-9]{18}"  # since 2001: of equal length, so that they sort as strings


def _pattern(names: Iterable[bytes]) -> str:
    # A field that matched need not be tried without, so each is atomic. Not by ?+, which before Python 3.11.5
    # skips the beginning of a field that does not match (gh-106052).
    fields = "".join(
        rf"(?>{name.decode()}=({_form(name)})\0{'' if name in REQUIRED else '|'})" for name in names
    )
    return rf"{event.FIRST.decode()}\0{fields}{event.LAST.decode()}"


def _form(name: bytes) -> str:
    """Return a pattern for values that need no checks beyond it."""
    form, read = event.FIELDS[name]
    if name in _MOMENTS:
        return _MOMENT
    if form:
        return form
    return _ASCII if read is event.text else _PORT if read is event.port else FORM


AS_BUILT = re.compile(_pattern(_NAMES)).fullmatch
HELLO = re.compile(_pattern(_NAMES[: _NAMES.index(event.T_START) + 1]).encode()).fullmatch
