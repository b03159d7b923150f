"""The loop: what came in is committed, then acknowledged, then shown.

Owns the order of things and nothing else: arrivals from socket and spool, one transaction, then all that
may follow it. While the store cannot take a batch, nothing is acknowledged and nothing more is read;
popups that wait too long leave their events in the spool, and /metrics goes on showing what is committed.
Every tick the spool is taken, the store synced, and the chores are done.
"""

import select
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from observability.arrivals.connections import Intake
from observability.arrivals.parsing import Arrival, Event, Malformed
from observability.arrivals.spool import Spool
from observability.log.messages import Log
from observability.store.database import Store

TICK_SECONDS = 0.75  # the store is to be synced at least once a second, the spool drained every two
STOPPING_SECONDS = 2.0
_RETRY_SECONDS = 0.1

Sink = Callable[[Sequence[Event]], None]


class Parts(NamedTuple):
    """What the loop puts together."""

    intake: Intake
    spool: Spool
    store: Store
    say: Log
    sinks: Sequence[Sink] = ()  # called in turn with what was counted, once that is acknowledged
    chores: Sequence[Callable[[], None]] = ()  # called at every tick


class Sidecar:
    """The loop over its parts, until stop is readable."""

    def __init__(self, parts: Parts, stop: int, clock: Callable[[], float]) -> None:
        """Prepare. stop: a descriptor; clock: monotonic seconds."""
        self._parts, self._clock = parts, clock
        self._stop = select.poll()
        self._stop.register(stop, select.POLLIN)
        self._batch: list[Arrival] = []
        self._next_tick = clock()
        self._malformed = self._met = ""
        self._troubles: dict[str, str] = {}

    def run(self) -> bool:
        """Serve until told to stop; False where the last events could not be committed."""
        while not self._stopped():
            self.step()
        return self._finish()

    def step(self) -> None:
        """Take what is there, or wait for it, and see it through."""
        if self._clock() >= self._next_tick:
            self._tick()
        parts = self._parts
        patience = 0.0 if parts.spool.is_draining else max(0.0, self._next_tick - self._clock())
        self._batch = parts.intake.arrivals(patience) + parts.spool.arrivals()
        while not self._committed() and not self._stopped(_RETRY_SECONDS):
            pass

    def _finish(self) -> bool:
        """Commit and acknowledge what was sent by now; who is still connected will use the spool."""
        deadline = self._clock() + STOPPING_SECONDS
        self._parts.intake.stop_listening()
        done = self._committed()
        while not (done and self._parts.intake.is_idle) and self._clock() < deadline:
            if done:
                self._batch = self._parts.intake.arrivals(0)
            else:
                time.sleep(_RETRY_SECONDS)
            done = self._committed()
        return done

    def _committed(self) -> bool:
        """Commit the batch and do what follows; False where the store cannot take it now."""
        try:
            counted = self._parts.store.commit(self._batch) if self._batch else []
        except sqlite3.Error as error:
            self._trouble("store", f"cannot commit, nothing is acknowledged: {error}")
            return False
        self._trouble("store", "")
        self._note_malformed()
        self._batch = []
        self._parts.intake.acknowledge()
        self._settle()
        for sink in self._parts.sinks if counted else ():
            sink(counted)
        return True

    def _settle(self) -> None:
        """Let go of what was drained, and of the identities that cannot come back by the spool any more."""
        began = self._parts.spool.settle()
        if began is not None:
            self._attempt("identities", lambda: self._parts.store.drained(began))

    def _tick(self) -> None:
        self._next_tick = self._clock() + TICK_SECONDS
        store, spool = self._parts.store, self._parts.spool
        self._note_spool(spool.trouble)
        spool.begin()
        if (lost := spool.lost_bytes()) is not None:
            self._attempt("lost", lambda: store.lost(lost))
        self._attempt("sync", store.sync)
        self._trouble("events", self._malformed)
        self._malformed = ""
        for chore in self._parts.chores:
            chore()

    def _attempt(self, name: str, work: Callable[[], None]) -> None:
        """Do what the next tick can do as well."""
        try:
            work()
            self._trouble(name, "")
        except sqlite3.Error as error:
            self._trouble(name, f"the store: {error}")

    def _note_spool(self, trouble: str) -> None:
        """Say what the latest drain met, if the one before met it too: a writer in flight is gone by then."""
        self._trouble("spool", trouble if trouble == self._met else "")
        self._met = trouble

    def _note_malformed(self) -> None:
        for _, what in self._batch:
            if isinstance(what, Malformed):
                self._malformed = f"an event was malformed: {what.reason}"

    def _trouble(self, name: str, text: str) -> None:
        """Say what is wrong, once; or nothing, where it is over."""
        if text and self._troubles.get(name) != text:
            self._parts.say("warning", text)
        self._troubles[name] = text

    def _stopped(self, patience: float = 0) -> bool:
        return bool(self._stop.poll(patience * 1000))
