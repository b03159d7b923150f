"""The table of connections, and the addresses that are its rows."""

import pytest

from qmail_popup.listener import addresses
from qmail_popup.listener.addresses import Address
from qmail_popup.listener.ipc.counts import ROWS, Counts

_ONE = addresses.read(("192.0.2.1", 1)).ip
_OTHER = addresses.read(("192.0.2.2", 1)).ip


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (("192.0.2.1", 110), b"192.0.2.1"),
        (("::1", 110, 0, 0), b"::1"),
        (("fe80::1%lo", 110, 0, 1), b"fe80::1"),
        (("::ffff:192.0.2.1", 110, 0, 0), b"192.0.2.1"),
    ],
)
def test_an_address_is_shown_as_people_write_it(
    name: tuple[str, int] | tuple[str, int, int, int], shown: bytes
) -> None:
    """One that is mapped to IPv6 is one of IPv4."""
    read = addresses.read(name)
    assert (16, 110, shown) == (len(read.ip), read.port, addresses.numeric(read.ip))


def test_what_one_client_is() -> None:
    """An address of IPv4, or 64 bits of IPv6."""
    same, here, there = (
        addresses.read((text, 1, 0, 0)).ip for text in ("2001:db8::1", "2001:db8::2", "2001:db9::1")
    )
    assert addresses.client(same) == addresses.client(here) != addresses.client(there)
    assert addresses.client(_ONE) != addresses.client(_OTHER)


def test_all_columns_count() -> None:
    """What one process counts the others see, by client and in all."""
    counts = Counts(3)
    first, second = counts.column(0), counts.column(2)
    assert (1, 2, 2) == (first.enter(_ONE), second.enter(_ONE), first.total())
    first.leave(_ONE)
    assert (1, 2) == (second.total(), second.enter(_ONE))


def test_a_client_that_is_not_known_yet() -> None:
    """It counts in all, until it goes or is known."""
    column = Counts(2).column(1)
    column.hold()
    column.hold()
    column.release()
    assert (1, 1) == (column.total(), column.enter(_ONE))


def test_what_a_process_has_counted_goes_with_it() -> None:
    """Its successor begins with nothing."""
    counts = Counts(2)
    for _ in range(5):
        counts.column(0).enter(_ONE)
    counts.column(1).enter(_ONE)
    counts.clear(0)
    assert (2, 2) == (counts.column(1).enter(_ONE), counts.column(1).total())


def test_nothing_in_the_table_raises() -> None:
    """A worker that was taken over can write anything into it; the others go on."""
    counts = Counts(2)
    column = counts.column(0)
    column.leave(_ONE)
    for cells in (column._rows, column._totals):  # noqa: SLF001  what no honest worker does
        for cell in range(len(cells)):
            cells[cell] = (1 << 32) - 1
    column.enter(_ONE)
    column.leave(_OTHER)
    assert isinstance(column.total(), int)
    assert column.longest_silent() in (0, 1)


def test_who_has_been_silent_longest() -> None:
    """The one whose first falls due first; one that has nobody does not count."""
    counts = Counts(3)
    first, second, third = (counts.column(number) for number in range(3))
    assert (0, 1) == (first.longest_silent(), second.longest_silent())
    second.publish_silent(20.0)
    third.publish_silent(10.0)
    assert [2, 2, 2] == [column.longest_silent() for column in (first, second, third)]
    third.publish_silent(None)
    assert 1 == first.longest_silent()


def test_rows_and_ports() -> None:
    """There are as many rows as SECURITY.md says, and a port is no part of a client."""
    assert 65_536 == ROWS
    assert Address(_ONE, 1) == addresses.read(("192.0.2.1", 1))
