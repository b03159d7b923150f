"""The sidecar's thread that pushes at every interval.

Owns the interval. The sidecar's loop never waits for a push, and gets the results from the reports. A push
that fails does not end the thread.
"""

import threading
from collections.abc import Callable

from observability.errors import describe
from observability.log.reports import Report
from observability.pushgateway.push import Pushing, Result
from observability.store.families import PUSHED

_LOOK_SECONDS = 0.5  # during a push, between checks for close()
_LAST_TIMEOUT = 1.0


class PushThread:
    """The thread, from its start to close()."""

    def __init__(
        self,
        pushing: Pushing,
        interval: float,
        report: Callable[[Report], None],
        clock: Callable[[], float],
    ) -> None:
        """Start. interval: seconds; report: receives the result of each push; clock: monotonic."""
        self._pushing, self._interval = pushing, interval
        self._report, self._clock = report, clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="push", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Push once more, unless that takes long."""
        self._stopping.set()
        self._thread.join(_LAST_TIMEOUT)

    def _run(self) -> None:
        due = self._clock()
        while not self._stopping.is_set():
            if self._clock() >= due:
                due = self._clock() + self._interval
                self._pushing.begin()
            if self._pushing.is_idle:
                self._stopping.wait(max(0.0, due - self._clock()))
            else:
                self._go_on()
        self._finish()  # or an older push might arrive after the last one
        self._pushing.begin()
        self._finish()

    def _finish(self) -> None:
        while not self._pushing.is_idle:
            self._go_on()

    def _go_on(self) -> None:
        try:
            result = self._pushing.go_on(_LOOK_SECONDS)
        except Exception as error:  # noqa: BLE001  the boundary: the next push may succeed
            self._pushing.close()
            result = Result(f"cannot push: {describe(error)}")
        if result:
            self._report(Report("push", result.error, {PUSHED[not result.error]: 1}))
