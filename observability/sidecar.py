"""The loop of sidecar and pusher: commit arrivals, then acknowledge them, then pass them to the sinks.

Owns only this order: arrivals from a receiver and from the spool, one transaction, then everything that may
follow it. While the store cannot commit a batch, nothing is acknowledged and nothing more is read; popups
that wait too long leave their events in the spool, and /metrics keeps showing committed values. Every tick
drains the spool, syncs the store and runs the periodic tasks. A failing sink or task does not affect the
others: the error is logged once, and events that a sink missed are counted.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, Protocol

from observability.arrivals.parsing import Arrival, Event, Malformed
from observability.errors import Errors, Log, UnusableError, describe
from observability.store.database import Store
from observability.store.families import Series

TICK_SECONDS = 0.75  # requirement: sync the store every second, drain the spool every two
STOPPING_SECONDS = 2.0
_RETRY_SECONDS = 0.1


class Receiver(Protocol):
    """The source of arrivals on which the loop waits."""

    @property
    def is_idle(self) -> bool:
        """Whether the last poll found nothing."""

    def arrivals(self, timeout: float) -> list[Arrival]:
        """Return what has arrived, after at most `timeout` seconds."""

    def acknowledge(self) -> None:
        """Acknowledge the last arrivals: they are committed."""


class Drain(Protocol):
    """The spool, directly or in its thread."""

    @property
    def is_draining(self) -> bool:
        """Whether more is available without waiting."""

    @property
    def error(self) -> str:
        """Why the latest drain was incomplete, if it was."""

    @property
    def notice(self) -> str:
        """Files that the latest drain set aside, as a log line."""

    def begin(self) -> None:
        """Start a drain, unless one is in progress."""

    def arrivals(self) -> list[Arrival]:
        """Return the next piece."""

    def settle(self) -> float | None:
        """Remove committed files; after a complete drain return when it began."""

    def lost_bytes(self) -> int | None:
        """Return how many events popups could not spool; None if `lost` cannot be read."""


class Feed(Protocol):
    """Another source, which commits its own position in the transaction that counts its contents."""

    @property
    def name(self) -> str:
        """Its name in log messages."""

    @property
    def is_ready(self) -> bool:
        """Whether a piece is available."""

    def take(self) -> Mapping[str, Sequence[Event]]:
        """Commit the next piece; return the events for each sink, by its name."""


class Sink(NamedTuple):
    """Receives counted events. missed: series that counts those lost because it failed."""

    name: str
    take: Callable[[Sequence[Event]], None]
    missed: Series


class Parts(NamedTuple):
    """The parts of the loop."""

    receiver: Receiver
    spool: Drain
    store: Store
    log: Log
    sinks: Sequence[Sink] = ()  # called in turn with newly counted events, after these are acknowledged
    tasks: Mapping[str, Callable[[], object]] = MappingProxyType({})  # by name, run at every tick
    feeds: Sequence[Feed] = ()
    # Checks that the store's files are at their paths: before each acknowledgement, and at every tick.
    keep: Callable[[], object] = lambda: None


class Loop:
    """The loop. errors: current errors, by source."""

    def __init__(
        self,
        parts: Parts,
        is_over: Callable[[float], bool],
        clock: Callable[[], float],
        interval: float = TICK_SECONDS,
    ) -> None:
        """Schedule the first tick.

        is_over: waits up to so many seconds, returns whether to stop; clock: monotonic; interval: of ticks
        """
        self._parts, self._is_over, self._clock, self._interval = parts, is_over, clock, interval
        self.errors = Errors(parts.log)
        self._batch: list[Arrival] = []
        self._missed: Counter[Series] = Counter()  # not yet committed
        self._next_tick = clock()
        self._malformed = self._met = self._failed = ""  # since the last tick

    @property
    def is_stuck(self) -> bool:
        """Whether anything is waiting that cannot be counted now."""
        return bool(self._batch or self._parts.spool.error)

    def run(self) -> None:
        """Run until is_over()."""
        while not self._is_over(0):
            self.step()

    def step(self) -> None:
        """Wait for arrivals or the next tick, and process them."""
        if self._clock() >= self._next_tick:
            self._tick()
        spool, feeds = self._parts.spool, self._parts.feeds
        is_busy = spool.is_draining or any(feed.is_ready for feed in feeds)
        timeout = 0.0 if is_busy else max(0.0, self._next_tick - self._clock())
        self._batch = self._parts.receiver.arrivals(timeout) + spool.arrivals()
        while not self._is_committed() and not self._is_over(_RETRY_SECONDS):
            if self._clock() >= self._next_tick:
                self._tick()
        for feed in feeds:
            self._attempt(feed.name, partial(self._feed, feed))

    def log_stuck(self) -> None:
        """Log the latest drain's error now, because there will be no further drain to confirm it."""
        self.errors.note("spool", self._parts.spool.error)

    def finish(self) -> bool:
        """Commit and acknowledge what has been sent so far; False if that failed."""
        deadline = self._clock() + STOPPING_SECONDS
        done = self._is_committed()
        while not (done and self._parts.receiver.is_idle) and self._clock() < deadline:
            if done:
                self._batch = self._parts.receiver.arrivals(0)
            else:
                time.sleep(_RETRY_SECONDS)
            done = self._is_committed()
        self._attempt("missed", self._count_missed)
        return done

    def _is_committed(self) -> bool:
        """Commit the batch, acknowledge it and feed the sinks; False if the store cannot commit now."""
        try:
            counted = self._parts.store.commit(self._batch) if self._batch else []
        except sqlite3.Error as error:
            self._note_store(error)
            return False
        if self._batch:
            # Anything committed to a file that was unlinked is lost when this process exits.
            self._attempt("paths", self._parts.keep)
        for malformed in (what for _, what in self._batch if isinstance(what, Malformed)):
            self._malformed = f"malformed event: {malformed.reason}"
        self._batch = []
        self._parts.receiver.acknowledge()
        self._settle()
        for sink in self._parts.sinks if counted else ():
            self._show(sink, counted)
        return True

    def _feed(self, feed: Feed) -> None:
        shown = feed.take()
        for sink in self._parts.sinks:
            if events := shown.get(sink.name):
                self._show(sink, events)

    def _show(self, sink: Sink, counted: Sequence[Event]) -> None:
        try:
            sink.take(counted)
            self.errors.note(sink.name, "")
        except Exception as error:  # noqa: BLE001  the boundary: a failing sink must not affect counting
            self._missed[sink.missed] += len(counted)
            self.errors.note(sink.name, f"{sink.name}: {describe(error)}")

    def _settle(self) -> None:
        """Remove drained files, and forget identities that can no longer return from the spool."""
        if (began := self._parts.spool.settle()) is not None:
            self._attempt("identities", lambda: self._parts.store.drained(began))

    def _tick(self) -> None:
        self._next_tick = self._clock() + self._interval
        store, spool = self._parts.store, self._parts.spool
        self.errors.note("store", self._failed)  # over once a whole tick has passed without
        self._failed = ""
        self._note_spool(spool.error)
        self.errors.note("set aside", spool.notice)
        spool.begin()
        if (lost := spool.lost_bytes()) is not None:
            self._attempt("lost", lambda: store.lost(lost))
        self._attempt("missed", self._count_missed)
        self._attempt("paths", self._parts.keep)
        self._attempt("sync", store.sync)
        self.errors.note("events", self._malformed)
        self._malformed = ""
        for name, task in self._parts.tasks.items():
            self._attempt(name, task)

    def _attempt(self, name: str, work: Callable[[], object]) -> None:
        """Run work that the next tick can repeat if it fails."""
        try:
            work()
            self.errors.note(name, "")
        except UnusableError:
            raise
        except Exception as error:  # noqa: BLE001  the boundary: a failing task must not stop the others
            if isinstance(error, sqlite3.Error) and not self._parts.store.takes_commits:
                self._note_store(error)
            else:
                self.errors.note(name, f"{name}: {describe(error)}")

    def _count_missed(self) -> None:
        if self._missed:
            self._parts.store.count(self._missed)
            self._missed.clear()

    def _note_spool(self, error: str) -> None:
        """Log a drain's error only if the one before had it too: a writer in flight is done by then."""
        self.errors.note("spool", error if error == self._met else "")
        self._met = error

    def _note_store(self, error: sqlite3.Error) -> None:
        self._failed = f"cannot commit: {error}"
        self.errors.note("store", self._failed)
