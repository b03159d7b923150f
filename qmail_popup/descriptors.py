"""Descriptors as numbers: which are open, and which is the next that is not."""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


def is_open(fd: int) -> bool:
    """Whether a descriptor is open."""
    try:
        posix.fstat(fd)
    except OSError:
        return False
    return True


def first_free(number: int, barred: "Collection[int]" = ()) -> int:
    """Return the first number from this one on that is closed and not barred (fcntl would be an import)."""
    while number in barred or is_open(number):
        number += 1
    return number
