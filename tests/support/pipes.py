"""A pipe that is soon full."""

import fcntl
import os


def small_pipe() -> tuple[int, int]:
    """Return a pipe with room for one page, whose writer does not block."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    return reader, writer
