"""A watcher of the Alertmanager: which alerts it had, and which of them it lost again."""

import urllib.error
from contextlib import suppress

from tests.fleet.fleet_engine import fetch
from tests.support.background import Repeated
from tests.support.waiting import until

_PAUSE_SECONDS = 0.5

Alarm = tuple[str, str]
"""Name and instance."""


class Alarms(Repeated):
    """Asks all the time, in a thread, for as long as the context lasts.

    seen: all alerts that were ever active; gone: those that were active once and, at some later look, not
    """

    def __init__(self, url: str) -> None:
        """Watch the Alertmanager there."""
        super().__init__(self._watch, pause=_PAUSE_SECONDS)
        self._url = f"{url}/api/v2/alerts?active=true"
        self.seen: set[Alarm] = set()
        self.gone: list[Alarm] = []

    def await_active(self, wanted: set[Alarm]) -> None:
        """Wait until all of these were seen."""
        until(lambda: wanted <= self.seen)

    def _watch(self) -> None:
        with suppress(urllib.error.URLError):
            self._look(fetch(self._url))

    def _look(self, alerts: list[dict[str, dict[str, str]]]) -> None:
        active = {(alert["labels"]["alertname"], alert["labels"].get("instance", "")) for alert in alerts}
        self.gone.extend(sorted(self.seen - active))
        self.seen |= active
