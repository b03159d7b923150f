"""Descriptor 2: what the server's operator has to know, a line at a time.

Owns how a line is made harmless and that nobody waits for it: where a reader of descriptor 2 has stopped,
the line is lost and the session goes on.
"""

import posix
import select

from qmail_popup.descriptors import first_free

STDERR = 2
_ABOVE = 10  # of what is kept: all below mean something to somebody
_MAX_LINE = 512  # bytes; below PIPE_BUF, so that a pipe with room takes it whole
_UNPRINTABLE = bytes(range(32)) + bytes(range(127, 256))
_SHOWN = bytes.maketrans(_UNPRINTABLE, b"?" * len(_UNPRINTABLE))


def log(text: bytes, fd: int = STDERR) -> None:
    """Write a line, or lose it. fd: what `kept` returned, where descriptor 2 is closed."""
    try:
        room = select.poll()
        room.register(fd, select.POLLOUT)
        if room.poll(0):
            posix.write(fd, b"qmail-popup: %s\n" % printable(text))
    except OSError:
        pass


def kept() -> int | None:
    """Return a duplicate of descriptor 2 that is not inherited; None where a client may wait for its end."""
    try:
        if any(_is_same(STDERR, network) for network in (0, 1)):
            return None
        return posix.dup2(STDERR, first_free(_ABOVE), inheritable=False)
    except OSError:  # it is closed, or there is no room
        return None


def _is_same(fd: int, other: int) -> bool:
    """Whether two descriptors are of one file; False where one is closed."""
    try:
        one, two = posix.fstat(fd), posix.fstat(other)
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)


def printable(text: bytes) -> bytes:
    """Return `text` without control bytes and without anything that is not ASCII, and not too long."""
    return text[:_MAX_LINE].translate(_SHOWN)
