"""A constant database as written by cdbmake(1) and tcprules(1). Pure: bytes in, records out.

The whole file is validated before the first lookup: a file that is being overwritten, was truncated or has a
flipped bit in its structure must be reported as broken, not as one that lacks a key. Layout: 256 pairs of
position and length that locate the hash tables; the records; the tables (https://cr.yp.to/cdb/cdb.txt).
"""

import struct
from collections.abc import Iterator

_PAIR = struct.Struct("<II")
_TABLES = 256
_HEADER = _TABLES * _PAIR.size
_EMPTY = 0  # position in an unused slot
_MASK = (1 << 32) - 1


class BrokenCdbError(Exception):
    """The bytes are not a valid cdb; says which rule they break."""


class Cdb:
    """One validated database."""

    def __init__(self, data: bytes) -> None:
        """Validate `data`; BrokenCdbError."""
        if len(data) < _HEADER:
            raise BrokenCdbError("it is shorter than a header")
        self._data = data
        self._tables = list(_PAIR.iter_unpack(data[:_HEADER]))
        self._end = self._tables[0][0]
        self._check_layout()
        self._check()

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values in the order in which they were added."""
        for start, middle, end in self._records():
            yield self._data[start + _PAIR.size : middle], self._data[middle:end]

    def get(self, key: bytes) -> bytes | None:
        """Return the first value added for a key, or None."""
        for position in self._slots(key):
            start, middle, end = self._record(position)
            if self._data[start:middle] == key:
                return self._data[middle:end]
        return None

    def _check_layout(self) -> None:
        """Check that the tables are contiguous, from the last record to the end of the file."""
        end = self._end
        for position, slots in self._tables:
            if position != end or position < _HEADER:
                raise BrokenCdbError("its hash tables are not where they belong")
            end += slots * _PAIR.size
        if end != len(self._data):
            raise BrokenCdbError("it does not end where its hash tables do")

    def _check(self) -> None:
        """Check that the hash tables list exactly the records, and that lookups find them."""
        if sorted(self._positions()) != [position for position, _, _ in self._records()]:
            raise BrokenCdbError("its hash tables do not have all of its records")
        first: dict[bytes, bytes] = {}
        for key, value in self:
            if self.get(key) != first.setdefault(key, value):
                raise BrokenCdbError("its hash tables do not lead to all of its records")

    def _records(self) -> Iterator[tuple[int, int, int]]:
        """Yield where each record begins, where its value begins, and where it ends."""
        position = _HEADER
        while position < self._end:
            _, middle, end = self._record(position)
            yield position, middle, end
            position = end

    def _record(self, position: int) -> tuple[int, int, int]:
        """Return where a record's key begins, where its value begins, and where it ends."""
        start = position + _PAIR.size
        if start > self._end:
            raise BrokenCdbError("it ends inside a record")
        key, value = _PAIR.unpack_from(self._data, position)
        if start + key + value > self._end:
            raise BrokenCdbError("a record is longer than the file")
        return start, start + key, start + key + value

    def _positions(self) -> Iterator[int]:
        """Yield the record positions in all used slots."""
        for position, slots in self._tables:
            table = self._data[position : position + slots * _PAIR.size]
            yield from (record for number, record in _PAIR.iter_unpack(table) if number or record)

    def _slots(self, key: bytes) -> Iterator[int]:
        """Yield the positions of records that may have this key, the oldest first."""
        number = _hash(key)
        position, slots = self._tables[number % _TABLES]
        for turn in range(slots):
            slot = (number // _TABLES + turn) % slots
            found, record = _PAIR.unpack_from(self._data, position + slot * _PAIR.size)
            if record == _EMPTY:
                return
            if found == number:
                yield record


def _hash(key: bytes) -> int:
    number = 5381
    for byte in key:
        number = (number * 33 & _MASK) ^ byte
    return number
