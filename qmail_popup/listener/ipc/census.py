"""How many connections there are before their login: of each client, and in all, over all workers.

A table in memory that all processes share. Each writes its own column, so that no lock is needed, and sums up
the row. A row is a hash bucket, one of 2**16, keyed by the interpreter's secret hash seed: two clients may
share one, and nobody can choose with whom. Whoever holds the table can write anything into it, a worker that
was taken over too: so numbers in here decide only whom a worker greets.
"""

import mmap
from typing import TYPE_CHECKING

from qmail_popup.listener.addresses import client

ROWS = 1 << 16
_CELL, _TIME = 4, 8  # bytes
_MASK = (1 << 32) - 1  # whatever somebody has written there, it stays a number


if TYPE_CHECKING:
    Times = memoryview[float]


class Census:
    """The table; made before the processes that share it are forked."""

    def __init__(self, columns: int) -> None:
        """Begin with zeros; columns: how many processes write into it."""
        self._columns = columns
        self._rows = memoryview(mmap.mmap(-1, ROWS * columns * _CELL)).cast("I")
        self._totals = memoryview(mmap.mmap(-1, columns * _CELL)).cast("I")
        self._silent: Times = memoryview(mmap.mmap(-1, columns * _TIME)).cast("d")

    def clear(self, number: int) -> None:
        """Count no more what a process counted that has ended."""
        self._rows[number :: self._columns] = memoryview(bytes(ROWS * _CELL)).cast("I")
        self._totals[number] = 0
        self._silent[number] = 0

    def column(self, number: int) -> "Column":
        """Return one process's part of it."""
        return Column(self._rows, self._totals, self._silent, number)


class Column:
    """What one process adds to the sums, and the sums."""

    def __init__(self, rows: memoryview, totals: memoryview, silent: "Times", number: int) -> None:
        """Write into column `number` of each row."""
        self._rows, self._totals, self._silent = rows, totals, silent
        self._columns, self._number = len(totals), number

    def enter(self, ip: bytes) -> int:
        """Count a connection; how many its client has now."""
        row = hash(client(ip)) % ROWS * self._columns
        self._add(row, 1)
        return sum(self._rows[row : row + self._columns])

    def leave(self, ip: bytes) -> None:
        """Count it no more."""
        row = hash(client(ip)) % ROWS * self._columns
        self._add(row, -1)

    def hold(self) -> None:
        """Count a connection whose client is not known yet: for nobody."""
        self._count(1)

    def release(self) -> None:
        """Count it no more."""
        self._count(-1)

    def total(self) -> int:
        """Return how many there are in all."""
        return sum(self._totals)

    def tell_silent(self, since: float | None) -> None:
        """Tell the others since when the first of one's own connections has been silent."""
        self._silent[self._number] = since or 0

    def longest_silent(self) -> int:
        """Return who has the connection that has been silent longest, of all that have any."""
        since = {at: number for number, at in enumerate(self._silent) if at > 0}
        return since[min(since)] if since else self._number

    def _count(self, number: int) -> None:
        self._totals[self._number] = (self._totals[self._number] + number) & _MASK

    def _add(self, row: int, number: int) -> None:
        self._count(number)
        self._rows[row + self._number] = (self._rows[row + self._number] + number) & _MASK
