"""In the sidecar, a thread of its own for what leaves at every interval: the push, and the textfile.

Owns the interval. The loop that takes events in waits for none of this; what became of it, the loop takes
from the reports when it has time, counts it and tells.
"""

import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from observability.pushgateway.push import Pushing
from observability.settings import Settings
from observability.store.families import PUSHED, Series

_LOOK_SECONDS = 0.5  # while a push is under way: for the word to stop
_LAST_SECONDS = 1.0
_READABLE = 0o644  # node_exporter is another user
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

PUSH, TEXTFILE = "push", "textfile"


class Report(NamedTuple):
    """What became of a delivery; trouble: empty where there was none."""

    what: str
    trouble: str


class Reports:
    """On their way from the courier's thread to the loop's."""

    def __init__(
        self, count: Callable[[Mapping[Series, float]], None], say: Callable[[str, str], None]
    ) -> None:
        """Pass them on. count: may raise sqlite3.Error."""
        self._count, self._say = count, say
        self._waiting: deque[Report] = deque()
        self._said: dict[str, str] = {}

    def put(self, report: Report) -> None:
        """Have it counted and told; in any thread."""
        self._waiting.append(report)

    def take(self) -> None:
        """Count pushes, and say what is wrong, once; in the loop's thread."""
        taken = list(self._waiting)
        pushes = [PUSHED[not report.trouble] for report in taken if report.what == PUSH]
        try:
            if pushes:
                self._count(Counter(pushes))
        except sqlite3.Error:
            return  # they stay for the next time
        for report in taken:
            self._waiting.popleft()
            if report.trouble and self._said.get(report.what) != report.trouble:
                self._say("warning", report.trouble)
            self._said[report.what] = report.trouble


def start(settings: Settings, text: Callable[[], bytes], reports: Reports) -> "Courier":
    """Start what settings ask for; UnusableError. text: makes what is delivered."""
    pushing = Pushing(settings.group(), text, time.monotonic) if settings.push else None
    textfile = Textfile(settings.textfile, text) if settings.textfile else None
    return Courier(settings.push_interval, pushing, textfile, reports.put, time.monotonic)


class Courier:
    """The thread, and what it delivers. Whatever goes wrong, it goes on."""

    def __init__(
        self,
        interval: float,
        pushing: Pushing | None,
        textfile: "Textfile | None",
        report: Callable[[Report], None],
        clock: Callable[[], float],
    ) -> None:
        """Begin. interval: seconds; clock: monotonic seconds."""
        self._interval, self._pushing, self._textfile = interval, pushing, textfile
        self._report, self._clock = report, clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Deliver once more, if that does not take long."""
        self._stopping.set()
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        due = self._clock()
        while not self._stopping.is_set():
            if self._clock() >= due:
                due = self._clock() + self._interval
                self._deliver()
            self._wait(due)
        self._finish()  # or a push that is older might come in behind the last one
        self._deliver()
        self._finish()

    def _deliver(self) -> None:
        if self._textfile:
            self._report(Report(TEXTFILE, self._textfile.write()))
        if self._pushing:
            self._pushing.begin()

    def _wait(self, due: float) -> None:
        if self._pushing and not self._pushing.is_idle:
            self._go_on(self._pushing)
        else:
            self._stopping.wait(max(0.0, due - self._clock()))

    def _finish(self) -> None:
        while self._pushing and not self._pushing.is_idle:
            self._go_on(self._pushing)

    def _go_on(self, pushing: Pushing) -> None:
        if result := pushing.go_on(_LOOK_SECONDS):
            self._report(Report(PUSH, result.trouble))


class Textfile:
    """A file for node_exporter's textfile collector: replaced as a whole, so that nobody reads a half."""

    def __init__(self, path: Path, text: Callable[[], bytes]) -> None:
        """Name it. text: makes what stands in it."""
        self._path, self._text = path, text
        self._aside = path.with_name(f"{path.name}.new")  # which node_exporter leaves alone

    def write(self) -> str:
        """Write it anew; return what went wrong, if anything did."""
        try:
            text = self._text()
            # The directory may be others' too: nothing that lies there is followed or written to.
            self._aside.unlink(missing_ok=True)
            with open(os.open(self._aside, _NEW, _READABLE), "wb") as file:
                os.fchmod(file.fileno(), _READABLE)  # whatever the umask
                file.write(text)
            self._aside.rename(self._path)
        except OSError as error:
            return f"cannot write the textfile: {error}"
        return ""
