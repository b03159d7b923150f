"""Waiting for conditions instead of sleeping. Defines the only timeout of the tests."""

import os
import time
from collections.abc import Callable

TIMEOUT = float(os.environ.get("TEST_TIMEOUT", "120"))
"""Seconds after which a test gives up: many times what anything takes, even on a busy machine.

tests/mutants wants less: what a mutant never does is waited for again and again.
"""

_PAUSE_SECONDS = 0.01, 0.1  # first and longest after a quick check
_SHARE = 4  # the pause after a slow one is so many times as long as that took: it may cost more than the work
_MAX_PAUSE_SECONDS = 1.0


def eventually(happened: Callable[[], bool]) -> bool:
    """Wait for a condition; return whether it came true in time."""
    deadline = time.monotonic() + TIMEOUT
    pause, longest = _PAUSE_SECONDS
    while (begun := time.monotonic()) and not happened():
        ended = time.monotonic()
        if ended > deadline:
            return False
        pause = min(1.3 * pause, longest)
        time.sleep(max(pause, min(_SHARE * (ended - begun), _MAX_PAUSE_SECONDS)))
    return True


def until(happened: Callable[[], bool]) -> None:
    """Wait for a condition; TimeoutError if it does not come true in time."""
    if not eventually(happened):
        raise TimeoutError(f"it did not happen within {TIMEOUT} seconds")
