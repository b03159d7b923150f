"""Connections before login, per client and in total, across all workers.

A table in shared memory. Each process writes only its own column, so no lock is needed, and sums the row. A
row is one of 2**16 hash buckets, keyed by the interpreter's secret hash seed: two clients may share one, but
no client can choose which. Any process with the table can write anything into it, including a compromised
worker, so the counts decide only which clients a worker greets.
"""

import mmap
from typing import TYPE_CHECKING

from qmail_popup.listener.addresses import client

ROWS = 1 << 16
_CELL, _TIME = 4, 8  # bytes
_MASK = (1 << 32) - 1  # keeps a cell in range, whatever another process wrote into it


if TYPE_CHECKING:
    Times = memoryview[float]


class Counts:
    """The table; created before the processes that share it are forked."""

    def __init__(self, columns: int) -> None:
        """columns: number of processes that write into it."""
        self._columns = columns
        self._rows = memoryview(mmap.mmap(-1, ROWS * columns * _CELL)).cast("I")
        self._totals = memoryview(mmap.mmap(-1, columns * _CELL)).cast("I")
        self._silent: Times = memoryview(mmap.mmap(-1, columns * _TIME)).cast("d")

    def clear(self, number: int) -> None:
        """Discard the counts of a process that has ended."""
        self._rows[number :: self._columns] = memoryview(bytes(ROWS * _CELL)).cast("I")
        self._totals[number] = 0
        self._silent[number] = 0

    def column(self, number: int) -> "Column":
        """Return one process's column."""
        return Column(self._rows, self._totals, self._silent, number)


class Column:
    """One process's counts, and the sums over all processes."""

    def __init__(self, rows: memoryview, totals: memoryview, silent: "Times", number: int) -> None:
        """Write into column `number` of each row."""
        self._rows, self._totals, self._silent = rows, totals, silent
        self._columns, self._number = len(totals), number

    def enter(self, ip: bytes) -> int:
        """Count a connection; return how many its client has now."""
        row = hash(client(ip)) % ROWS * self._columns
        self._add(row, 1)
        return sum(self._rows[row : row + self._columns])

    def leave(self, ip: bytes) -> None:
        """Undo enter()."""
        row = hash(client(ip)) % ROWS * self._columns
        self._add(row, -1)

    def hold(self) -> None:
        """Count a connection whose client is not known yet, in the total only."""
        self._count(1)

    def release(self) -> None:
        """Undo hold()."""
        self._count(-1)

    def total(self) -> int:
        """Return the number of connections of all processes."""
        return sum(self._totals)

    def publish_silent(self, since: float | None) -> None:
        """Publish since when this process's longest-silent connection has been silent."""
        self._silent[self._number] = since or 0

    def longest_silent(self) -> int:
        """Return the number of the process with the longest-silent connection; this one if there is none."""
        since = {at: number for number, at in enumerate(self._silent) if at > 0}
        return since[min(since)] if since else self._number

    def _count(self, number: int) -> None:
        self._totals[self._number] = (self._totals[self._number] + number) & _MASK

    def _add(self, row: int, number: int) -> None:
        self._count(number)
        self._rows[row + self._number] = (self._rows[row + self._number] + number) & _MASK
