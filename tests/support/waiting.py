"""Waiting: for what a test wants to see, and never for a time. The one limit that there is stands here."""

import time
from collections.abc import Callable

TIMEOUT = 120.0
"""Seconds after which a test gives up: many times what anything takes, also on a busy machine."""

_PAUSE_SECONDS = 0.02


def eventually(happened: Callable[[], bool]) -> bool:
    """Wait until it has happened, and return whether it has."""
    deadline = time.monotonic() + TIMEOUT
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def until(happened: Callable[[], bool]) -> None:
    """Wait until it has happened; TimeoutError where it does not."""
    if not eventually(happened):
        raise TimeoutError(f"it did not happen within {TIMEOUT} seconds")
