"""Descriptors as numbers: which are open, which is the next free one, and closing several."""

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
    """Return the lowest closed number from `number` up that is not barred, without importing fcntl."""
    while number in barred or is_open(number):
        number += 1
    return number
