"""Lines that are written at most once a minute, however often there is a reason for them."""

import time
from collections.abc import Callable

_SECONDS = 60


class Throttled:
    """One kind of line."""

    def __init__(self, log: Callable[[str], None]) -> None:
        """log: writes a line."""
        self._log, self._next = log, 0.0

    def __call__(self, text: str) -> None:
        """Write it, unless there was one less than a minute ago."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS
            self._log(text)
