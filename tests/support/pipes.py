"""A pipe with a small capacity."""

import fcntl
import os


def small_pipe() -> tuple[int, int]:
    """Return a pipe with a capacity of one page and a non-blocking writer."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    return reader, writer
