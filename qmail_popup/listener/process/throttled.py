"""Log lines limited to one a minute."""

import time
from collections.abc import Callable

_SECONDS = 60


class Throttled:
    """Logs at most one line a minute."""

    def __init__(self, log: Callable[[str], None]) -> None:
        """log: writes a line."""
        self._log, self._next = log, 0.0

    def __call__(self, text: str) -> None:
        """Write a line unless one was written less than a minute ago."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS
            self._log(text)
