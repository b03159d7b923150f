"""Waiting: for what a test wants to see, and never for a time. The one limit that there is stands here."""

import time
from collections.abc import Callable

TIMEOUT = 120.0
"""Seconds after which a test gives up: many times what anything takes, also on a busy machine."""

_PAUSE_SECONDS = 0.01, 0.2  # the first and the longest: a look may cost more than what it waits for


def eventually(happened: Callable[[], bool]) -> bool:
    """Wait until it has happened, and return whether it has."""
    deadline = time.monotonic() + TIMEOUT
    pause, longest = _PAUSE_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(1.3 * pause, longest)
    return True


def until(happened: Callable[[], bool]) -> None:
    """Wait until it has happened; TimeoutError where it does not."""
    if not eventually(happened):
        raise TimeoutError(f"it did not happen within {TIMEOUT} seconds")
