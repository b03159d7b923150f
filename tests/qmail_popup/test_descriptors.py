"""Numbers of descriptors."""

import os

import pytest

from qmail_popup.descriptors import close, first_free, is_open
from tests.support.child import run


@pytest.mark.parametrize("fds", [[0, 1], [0], [1], []], ids=str)
def test_closing(fds: list[int]) -> None:
    """Closing closes all, whichever were open, and may be done twice."""
    spare = os.open(os.devnull, os.O_RDWR)

    def task() -> list[str]:
        close([0, 1])
        close([0, 1])
        return sorted(name for name in os.listdir("/proc/self/fd") if int(name) < 3)

    # Listing takes the lowest free number for itself.
    assert ["0", "2"] == run(task, dict.fromkeys([*fds, 2], spare))
    os.close(spare)


def test_the_first_that_is_free() -> None:
    """From a number on, past those that are open and those that are not to be used."""
    spare = os.open(os.devnull, os.O_RDWR)

    def task() -> list[object]:
        return [*map(is_open, (5, 6)), *map(first_free, (4, 5, 8)), first_free(4, (4, 6, 7))]

    assert [True, False, 4, 6, 9, 9] == run(task, dict.fromkeys([5, 8], spare))
    os.close(spare)
