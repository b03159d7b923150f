"""What the children of the supervisor begin with."""

import pytest

from qmail_popup.listener.ipc.frames import MIN_NUMBER, SLOTS
from qmail_popup.listener.tasks import first_number


@pytest.mark.parametrize("origin", [-100.0, 0.0, 1_577_836_800.0, 1_800_000_000.0])
def test_numbers_begin_above_all_before(origin: float) -> None:
    """A clock that nobody has set yet is no reason for numbers that a frame cannot hold."""
    first, second = first_number(origin, 1.0, 3), first_number(origin, 2.0, 3)
    assert MIN_NUMBER < first < second < 1 << 64
    assert (3, 3) == (first % SLOTS, second % SLOTS)
