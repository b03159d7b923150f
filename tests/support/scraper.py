"""Reads /metrics, and a watcher that scrapes continuously and notes every counter that went back."""

import http.client
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from prometheus_client.parser import text_string_to_metric_families

from tests.support.background import Repeated

_PATIENCE_SECONDS = 0.5
_PAUSE_SECONDS = 0.5  # a look costs two processes a session's CPU time
_GROWING = ("_total", "_bucket", "_sum", "_count")
# May go back when the process restarts: its own metrics, and failures while the store cannot be written.
_OF_PROCESS = ("process_", "qmail_popup_telemetry_commits_failed_")

Labels = tuple[tuple[str, str], ...]
Numbers = dict[tuple[str, Labels], float]


def read(url: str, patience: float = _PATIENCE_SECONDS, only: str = "") -> Numbers:
    """Scrape once; OSError without an answer in time. only: one sample, half the work."""
    asked = f"{url}?name[]={only}" if only else url
    try:
        with urllib.request.urlopen(asked, timeout=patience) as answer:  # noqa: S310 - our own URL
            text = answer.read().decode()
    except http.client.HTTPException as broken:  # killed while answering
        raise ConnectionError("half an answer") from broken
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counts(numbers: Numbers, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """Return a counter's non-zero values by the values of `labels`; name: without qmail_popup_."""
    found: Counter[tuple[str, ...]] = Counter()
    for (sample, told), value in numbers.items():
        if sample == f"qmail_popup_{name}" and value:
            found[tuple(dict(told)[label] for label in labels)] += int(value)
    return found


class Watcher(Repeated):
    """Scrapes in a thread while the context lasts.

    looks: number of successful scrapes; complaints: counters that went back, or were impossibly high
    """

    def __init__(
        self, url: Callable[[], str], attempts_most: Callable[[], int], pause: float = _PAUSE_SECONDS
    ) -> None:
        """url: where to scrape; attempts_most: returns the number of records so far."""
        super().__init__(self._watch, pause=pause)
        self._url, self._attempts_most = url, attempts_most
        self._highest: Numbers = {}
        self.looks = 0
        self.complaints: list[str] = []

    def _watch(self) -> None:
        with suppress(OSError):  # killed, suspended, or not yet ready
            self._look(read(self._url()))

    def _look(self, numbers: Numbers) -> None:
        self.looks += 1
        attempts, most = counts(numbers, "auth_attempts_total").total(), self._attempts_most()
        if attempts > most:
            self.complaints.append(f"{attempts} attempts, and {most} records by then")
        for series, value in numbers.items():
            if not series[0].endswith(_GROWING) or series[0].startswith(_OF_PROCESS):
                continue
            if value < self._highest.get(series, 0):
                self.complaints.append(f"{series}: {self._highest[series]}, then {value}")
            self._highest[series] = value
