"""Descriptors as numbers: which are open, which is the next that is not, and how to let go of some."""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def is_open(fd: int) -> bool:
    """Whether a descriptor is open."""
    try:
        posix.fstat(fd)
    except OSError:
        return False
    return True


def close(numbers: "Iterable[int]") -> None:
    """Close those that are open."""
    for fd in numbers:
        try:
            posix.close(fd)
        except OSError:
            pass


def first_free(number: int, barred: "Collection[int]" = ()) -> int:
    """Return the first number from this one on that is closed and not barred (fcntl would be an import)."""
    while number in barred or is_open(number):
        number += 1
    return number
