"""The sidecar's side of the OTLP exporter: sends it counted events, and counts dropped spans.

The SDK runs in its own process (process.py). In a thread, it would make the intake wait for the interpreter
lock after each system call: in a flood on two cores, 4,050 events a second were acknowledged with a thread,
5,700 to 11,900 with a process. Nothing here waits for the exporter. If it has no room, spans are dropped and
counted before any work is spent on them. If it dies, what it held is counted as dropped too, and a new one
is started a while later.
"""

import contextlib
import select
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from observability.arrivals.parsing import Event
from observability.errors import Log, describe
from observability.log.messages import Stream
from observability.otlp import frames
from observability.otlp.frames import Setup, Values
from observability.otlp.sampling import Sampler, spans_in

NAME = "qmail-popup"
MAX_IN_HAND = 65_536  # spans: as many on the way to the exporter as in its queue
FLUSH_SECONDS = 1.5  # how long the exporter may take to flush after it is told to stop
_HAND_OVER_SECONDS = 0.5  # how long it may take before that to accept the rest
_RESTART_SECONDS = 30.0
_REPORTS = 65536  # bytes

# It inherits our sys.path, from whatever source: an installation, a checkout, a virtual environment.
_RUN = "import sys; sys.path[:] = sys.argv[1:]; from observability.otlp.process import main; main()"


def signal_endpoint(base: str | None, signal: str) -> str | None:
    """Return the endpoint of a signal, derived as the SDK does from its base; None without a base."""
    return f"{base.removesuffix('/')}/v1/{signal}" if base else None


class SpanCounts(NamedTuple):
    """How many spans the exporter has exported and dropped so far."""

    exported: int = 0
    dropped: int = 0

    def after(self, number: int, dropped: int) -> "SpanCounts":
        """Return the counts after `number` more spans, of which `dropped` were dropped."""
        return SpanCounts(self.exported + number - dropped, self.dropped + dropped)


class Parts(NamedTuple):
    """What an exporter is used with."""

    keeps: Sampler
    count_dropped: Callable[[int], None]  # count this many more dropped spans; may raise sqlite3.Error
    values: Callable[[], Values]
    log: Log
    clock: Callable[[], float]  # monotonic seconds
    max_in_hand: int = MAX_IN_HAND


class Exporter:
    """The exporter's process, and the counts of this one and its predecessors."""

    def __init__(self, setup: Setup, parts: Parts) -> None:
        """Start the process."""
        self._setup, self._parts = setup, parts
        self._process: _Process | None = None
        self._lost = self._counted = 0  # spans: lost outside a live process; already in the store
        self._start()

    def __call__(self, counted: Sequence[Event]) -> None:
        """Pass on the events just counted, if they are sampled."""
        kept = [event for event in counted if self._parts.keeps(event)]
        if (spans := sum(map(spans_in, kept))) and not (
            self._process and self._process.give_events(kept, spans)
        ):
            self._lost += spans

    def tick(self) -> None:
        """Read reports, pass on the values, count drops; restart the process if due."""
        if self._process and not self._process.read_reports():
            self._parts.log("warning", "the span exporter exited unexpectedly")
            self._let_go()
        if not self._process and self._parts.clock() >= self._next_start:
            self._start()
        self._give_values()
        self._count()

    def close(self) -> None:
        """Flush, for little more than FLUSH_SECONDS, and count what is left as dropped."""
        self._give_values()
        if self._process:
            self._process.finish()
            self._let_go()
        self._count()

    def _start(self) -> None:
        self._next_start = self._parts.clock() + _RESTART_SECONDS
        try:
            self._process = _Process(self._setup, self._parts.max_in_hand)
        except (OSError, RuntimeError) as error:
            self._parts.log("warning", f"cannot start the span exporter: {describe(error)}")

    def _let_go(self) -> None:
        if self._process:
            self._lost += self._process.given - self._process.counts.exported
            self._process.close()
        self._process = None

    def _give_values(self) -> None:
        if self._setup.metrics and self._process:
            self._process.give_values(self._parts.values())

    def _count(self) -> None:
        dropped = self._lost + (self._process.counts.dropped if self._process else 0)
        if dropped == self._counted:
            return
        with contextlib.suppress(sqlite3.Error):  # already logged by the loop; retried at the next tick
            self._parts.count_dropped(dropped - self._counted)
            self._counted = dropped


class _Process:
    """One exporter process: what it was given, and what it reports."""

    def __init__(self, setup: Setup, max_in_hand: int) -> None:
        """Start it, to hold at most `max_in_hand` spans; OSError, or RuntimeError without a thread for it."""
        self._max_in_hand = max_in_hand
        command = [sys.executable, "-IS", "-c", _RUN, *sys.path]
        with contextlib.ExitStack() as undo:
            self._line, theirs = socket.socketpair()
            undo.callback(self._line.close)
            with theirs:
                self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self._stream = Stream(self._line.fileno(), _HAND_OVER_SECONDS)
            undo.pop_all()
        self._stream.put(frames.of_setup(setup))
        self._unread = b""
        self.given, self.counts = 0, SpanCounts()

    def give_events(self, events: Sequence[Event], spans: int) -> bool:
        """Pass on events that make this many spans; False if there is no room for them."""
        if not (self._has_room(spans) and self._stream.put(frames.of_events(events))):
            return False
        self.given += spans
        return True

    def give_values(self, values: Values) -> None:
        """Pass on all values; without room they are skipped, as the next frame has them again."""
        self._stream.put(frames.of_values(values))

    def _has_room(self, spans: int) -> bool:
        """Whether it keeps up, checked before any work on events that it could not take."""
        if self.given - sum(self.counts) + spans > self._max_in_hand:
            self.read_reports()
        return self.given - sum(self.counts) + spans <= self._max_in_hand

    def read_reports(self) -> bool:
        """Read its reports; False if it has ended."""
        try:
            while data := self._line.recv(_REPORTS, socket.MSG_DONTWAIT):
                *reports, self._unread = (self._unread + data).split(b"\n")
                if reports:
                    self.counts = SpanCounts(*map(int, reports[-1].split()))
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def finish(self) -> None:
        """Pass on the rest, signal the end, and read reports until it ends or the time is up."""
        self._stream.close()
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + FLUSH_SECONDS
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        while self.read_reports() and (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)

    def close(self) -> None:
        """Kill it, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._stream.close()  # nothing reads it now, so none of its writes blocks or remains
        self._line.close()
