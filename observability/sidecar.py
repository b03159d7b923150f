"""The loop: what came in is committed, then acknowledged, then shown. Sidecar and pusher both run it.

Owns the order of things and nothing else: arrivals from a receiver and from the spool, one transaction, then
all that may follow it. While the store cannot take a batch, nothing is acknowledged and nothing more is read;
popups that wait too long leave their events in the spool, and /metrics goes on showing what is committed.
At every tick the spool is drained, the store synced, and each periodic task done. A sink or a task that fails
fails alone: it is logged once, what a sink missed is counted, and all the others go on.
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

TICK_SECONDS = 0.75  # the store is to be synced at least once a second, the spool drained every two
STOPPING_SECONDS = 2.0
_RETRY_SECONDS = 0.1


class Receiver(Protocol):
    """Where the loop waits, and from whom it may get something for it."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing was there at the last look."""

    def arrivals(self, timeout: float) -> list[Arrival]:
        """Return what has come, after `timeout` seconds at the most."""

    def acknowledge(self) -> None:
        """Tell that what it brought last is committed."""


class Drain(Protocol):
    """The spool: itself, or in its thread."""

    @property
    def is_draining(self) -> bool:
        """Whether there is more without waiting."""

    @property
    def error(self) -> str:
        """What kept the latest drain from being complete."""

    @property
    def notice(self) -> str:
        """What the latest drain did beside draining."""

    def begin(self) -> None:
        """Start a drain, if none is under way."""

    def arrivals(self) -> list[Arrival]:
        """Return the next piece."""

    def settle(self) -> float | None:
        """Remove what was committed; after a complete drain return when that began."""

    def lost_bytes(self) -> int | None:
        """Return how many events could not be left there; None where that is not to be seen."""


class Feed(Protocol):
    """Something else to count, which remembers by itself how far it was counted."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    @property
    def is_ready(self) -> bool:
        """Whether there is something to take."""

    def take(self) -> Mapping[str, Sequence[Event]]:
        """Commit the next piece of it; return what is to be shown, by the names of the sinks."""


class Sink(NamedTuple):
    """What is shown to whom; missed: the series that counts the events which it could not take."""

    name: str
    take: Callable[[Sequence[Event]], None]
    missed: Series


class Parts(NamedTuple):
    """What the loop puts together."""

    receiver: Receiver
    spool: Drain
    store: Store
    log: Log
    sinks: Sequence[Sink] = ()  # called in turn with what was counted, once that is acknowledged
    tasks: Mapping[str, Callable[[], object]] = MappingProxyType({})  # by their names, called at every tick
    feeds: Sequence[Feed] = ()
    # Sees that the store's files are in their place: before each acknowledgement, and at every tick.
    keep: Callable[[], object] = lambda: None


class Loop:
    """The loop over its parts. errors: what is wrong now."""

    def __init__(
        self,
        parts: Parts,
        is_over: Callable[[float], bool],
        clock: Callable[[], float],
        interval: float = TICK_SECONDS,
    ) -> None:
        """Prepare.

        is_over: whether to end, known after so many seconds at most; clock: monotonic seconds;
        interval: between ticks
        """
        self._parts, self._is_over, self._clock, self._interval = parts, is_over, clock, interval
        self.errors = Errors(parts.log)
        self._batch: list[Arrival] = []
        self._missed: Counter[Series] = Counter()  # not yet in the store
        self._next_tick = clock()
        self._malformed = self._met = ""

    @property
    def is_stuck(self) -> bool:
        """Whether something waits that cannot be counted now."""
        return bool(self._batch or self._parts.spool.error)

    def run(self) -> None:
        """Serve until it is over."""
        while not self._is_over(0):
            self.step()

    def step(self) -> None:
        """Take what is there, or wait for it, and see it through."""
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
        """Log what the latest drain met: nobody here will see whether it is over in a moment."""
        self.errors.note("spool", self._parts.spool.error)

    def finish(self) -> bool:
        """Commit and acknowledge what was sent by now; False where that could not be."""
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
        """Commit the batch and do what follows; False where the store cannot take it now."""
        try:
            counted = self._parts.store.commit(self._batch) if self._batch else []
        except sqlite3.Error as error:
            self.errors.note("store", f"cannot commit: {error}")
            return False
        if self._batch:
            self.errors.note("store", "")
            # What was committed to a file that has no name any more is gone with this process.
            self._attempt("paths", self._parts.keep)
        self._note_malformed()
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
        except Exception as error:  # noqa: BLE001  the boundary: what is counted does not depend on who is shown it
            self._missed[sink.missed] += len(counted)
            self.errors.note(sink.name, f"{sink.name}: {describe(error)}")

    def _settle(self) -> None:
        """Let go of what was drained, and of the identities that cannot come back by the spool any more."""
        began = self._parts.spool.settle()
        if began is not None:
            self._attempt("identities", lambda: self._parts.store.drained(began))

    def _tick(self) -> None:
        self._next_tick = self._clock() + self._interval
        store, spool = self._parts.store, self._parts.spool
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
        """Do what the next tick can do as well."""
        try:
            work()
            self.errors.note(name, "")
        except UnusableError:
            raise
        except sqlite3.Error as error:
            self.errors.note("store", f"cannot commit: {error}")
        except Exception as error:  # noqa: BLE001  the boundary: one task that fails stops no other
            self.errors.note(name, f"{name}: {describe(error)}")

    def _count_missed(self) -> None:
        if self._missed:
            self._parts.store.count(self._missed)
            self._missed.clear()

    def _note_spool(self, error: str) -> None:
        """Log what the latest drain met, if the one before met it too: a writer in flight is done by then."""
        self.errors.note("spool", error if error == self._met else "")
        self._met = error

    def _note_malformed(self) -> None:
        for _, what in self._batch:
            if isinstance(what, Malformed):
                self._malformed = f"malformed event: {what.reason}"
