"""Descriptor 2: what the server's operator has to know, a line at a time.

Owns how a line is made harmless and that nobody waits for it: where a reader of descriptor 2 has stopped,
the line is lost and the session goes on.
"""

import posix
import select

STDERR = 2
_MAX_LINE = 512  # bytes; below PIPE_BUF, so that a pipe with room takes it whole
_UNPRINTABLE = bytes(range(32)) + bytes(range(127, 256))
_SHOWN = bytes.maketrans(_UNPRINTABLE, b"?" * len(_UNPRINTABLE))


def log(text: bytes) -> None:
    """Write a line, or lose it."""
    try:
        room = select.poll()
        room.register(STDERR, select.POLLOUT)
        if room.poll(0):
            posix.write(STDERR, b"qmail-popup: %s\n" % printable(text))
    except OSError:
        pass


def printable(text: bytes) -> bytes:
    """Return `text` without control bytes and without anything that is not ASCII, and not too long."""
    return text[:_MAX_LINE].translate(_SHOWN)
