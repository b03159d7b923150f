"""A watcher of the Alertmanager: which alerts it had, and which of them it lost again."""

import threading
import urllib.error
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.fleet.fleet_engine import fetch
from tests.support.waiting import until

_PAUSE_SECONDS = 0.5

Alarm = tuple[str, str]
"""Name and instance."""


class Alarms:
    """Asks all the time, in a thread, for as long as the context lasts.

    seen: all alerts that were ever active; gone: those that were active once and, at some later look, not
    """

    def __init__(self, url: str) -> None:
        """Watch the Alertmanager there."""
        self._url = f"{url}/api/v2/alerts?active=true"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seen: set[Alarm] = set()
        self.gone: list[Alarm] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def await_active(self, wanted: set[Alarm]) -> None:
        """Wait until all of these were seen."""
        until(lambda: wanted <= self.seen)

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE_SECONDS):
            with suppress(urllib.error.URLError):
                self._look(fetch(self._url))

    def _look(self, alerts: list[dict[str, dict[str, str]]]) -> None:
        active = {(alert["labels"]["alertname"], alert["labels"].get("instance", "")) for alert in alerts}
        self.gone.extend(sorted(self.seen - active))
        self.seen |= active
