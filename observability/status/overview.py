"""The running sidecar's state: its snapshot as the page at `/` and as JSON at `/history`.

Owns the sources of a snapshot. Runs in the HTTP server's thread, and reads only values that the loop replaces
as a whole.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from observability.errors import Errors
from observability.prometheus.collector import Sources
from observability.prometheus.pages import Answer
from observability.status import wrong
from observability.status.page import HEADERS, page
from observability.status.snapshot import Snapshot
from observability.store.database import Store
from observability.store.history import History, Minute

HOME, HISTORY = "/", "/history"
_PAGE_SECONDS = 1.0
_JSON = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]


class Overview:
    """The sidecar's view of itself.

    errors: the sources of current errors; whoever creates one appends it
    """

    def __init__(
        self, store: Store, history: History, sources: Sources, *, pushes: bool, spans: bool
    ) -> None:
        """Read from these. pushes, spans: whether they are enabled."""
        self._store, self._history, self._sources = store, history, sources
        self._pushes, self._spans = pushes, spans
        self._made, self._text = 0.0, b""  # the page, and when it was rendered
        self.errors: list[Errors] = []
        self.pages: Mapping[str, Callable[[], Answer]] = {HOME: self._page, HISTORY: self._json}

    def snapshot(self) -> Snapshot:
        """Return the current snapshot."""
        committed, sources = self._sources.committed(), self._sources
        return Snapshot(
            now=self._history.now(),
            version=sources.version,
            values=committed.values,
            minutes=self._history.minutes(),
            last_event=committed.last_event,
            born=self._store.born,
            active=sources.active(),
            limit=sources.sessions_limit,
            spool_bytes=sources.spool_bytes(),
            takes_commits=self._store.takes_commits,
            pushes=self._pushes,
            spans=self._spans,
            errors=wrong.errors(name for errors in self.errors for name in errors.names),
        )

    def _page(self) -> Answer:
        """Render the page at most once a second: it takes much longer than all other pages."""
        now = self._history.now()
        if not 0 <= now - self._made < _PAGE_SECONDS:
            self._made, self._text = now, page(self.snapshot())
        return Answer(200, HEADERS, self._text)

    def _json(self) -> Answer:
        return Answer(200, _JSON, json.dumps(to_json(self.snapshot())).encode())


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return what /metrics lacks: the minutes, and the state of store, pushes and spans."""
    return {
        "now": snapshot.now,
        "born": snapshot.born,
        "takes_commits": snapshot.takes_commits,
        "pushes": snapshot.pushes,
        "spans": snapshot.spans,
        "errors": sorted(snapshot.errors),
        "minutes": [_minute(minute) for minute in snapshot.minutes],
    }


def of_json(found: Mapping[str, Any], snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with what such an answer adds; LookupError, TypeError, ValueError."""
    return snapshot._replace(
        now=float(found["now"]),
        born=float(found["born"]),
        takes_commits=bool(found["takes_commits"]),
        pushes=bool(found["pushes"]),
        spans=bool(found["spans"]),
        errors=wrong.errors(map(str, found["errors"])),
        minutes=[
            Minute(int(minute), peak, {tuple(series): value for *series, value in sums})
            for minute, peak, sums in found["minutes"]
        ],
    )


def _minute(minute: Minute) -> tuple[int, int | None, list[list[Any]]]:
    return minute.minute, minute.peak, [[*series, value] for series, value in minute.sums.items()]
