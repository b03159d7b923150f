"""How far a run is: a line a minute, for it takes hours."""

import time
from collections.abc import Callable

_SECONDS = 60.0


class Progress:
    """Counts mutants that have been tried; for several threads, each with a module of its own."""

    def __init__(
        self,
        total: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        """total: mutants of all modules."""
        self._total, self._clock, self._show = total, clock, show
        self._began = self._shown = clock()
        self._done: dict[str, int] = {}

    def tell(self, module: str, done: int, size: int) -> None:
        """Take note that `done` of a module's mutants have been tried; show it if a minute has passed."""
        self._done[module] = done
        now, tried = self._clock(), sum(self._done.values())
        if tried and now - self._shown >= _SECONDS:
            self._shown = now
            left = (now - self._began) / tried * (self._total - tried)
            self._show(f"{module}: {done} of {size}; all: {tried} of {self._total}, {_hours(left)} left")


def _hours(seconds: float) -> str:
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
