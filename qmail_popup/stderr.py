"""Descriptor 2: messages for the server's operator, one line each.

Sanitizes the line and never blocks: if nothing reads descriptor 2, the line is lost and the session goes on.
"""

import posix
import select

from qmail_popup.descriptors import first_free

STDERR = 2
_ABOVE = 10  # duplicates go above this number: lower descriptors may have a meaning
_MAX_LINE = 512  # bytes; below PIPE_BUF, so that a pipe with room takes the whole line
_UNPRINTABLE = bytes(range(32)) + bytes(range(127, 256))
_SHOWN = bytes.maketrans(_UNPRINTABLE, b"?" * len(_UNPRINTABLE))


def log(text: bytes, fd: int = STDERR) -> None:
    """Write a line, or drop it. fd: the result of `kept` if descriptor 2 is closed."""
    try:
        room = select.poll()
        room.register(fd, select.POLLOUT)
        if room.poll(0):
            posix.write(fd, b"qmail-popup: %s\n" % printable(text))
    except OSError:
        pass


def kept() -> int | None:
    """Return a duplicate of descriptor 2, close-on-exec; None if descriptor 2 is the client's connection."""
    try:
        if any(_is_same(STDERR, network) for network in (0, 1)):
            return None
        return posix.dup2(STDERR, first_free(_ABOVE), inheritable=False)
    except OSError:  # it is closed, or no descriptor is left
        return None


def _is_same(fd: int, other: int) -> bool:
    """Whether two descriptors refer to the same file; False if either is closed."""
    try:
        one, two = posix.fstat(fd), posix.fstat(other)
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)


def printable(text: bytes) -> bytes:
    """Return `text` truncated, with control and non-ASCII bytes replaced."""
    return text[:_MAX_LINE].translate(_SHOWN)
