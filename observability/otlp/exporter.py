"""OpenTelemetry in a process of its own: what was counted goes there, and what became of it is counted here.

The SDK runs in that process (process.py) and not in a thread of this one, where the intake would have to
get the interpreter's lock back from it after each system call: of a flood of events, on two cores, 4,050 a
second were acknowledged so, and 5,700 to 11,900 this way. Nothing here waits for the exporter. What it has
no room for is dropped here, before anything was made of it, and counted; what it had in hand when it died is
counted as dropped too, and a new one is started a while later.
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
FLUSH_SECONDS = 1.5  # that the exporter takes to get the rest out once it is told to stop
_HAND_OVER_SECONDS = 0.5  # that it may take before, to get the rest in
_RESTART_SECONDS = 30.0
_REPORTS = 65536  # bytes

# Its path is ours, however that came about: installed, a checkout, a virtual environment.
_RUN = "import sys; sys.path[:] = sys.argv[1:]; from observability.otlp.process import main; main()"


def signal_endpoint(base: str | None, signal: str) -> str | None:
    """Return where one kind goes, as the SDK makes it of OTEL_EXPORTER_OTLP_ENDPOINT; None without a base."""
    return f"{base.removesuffix('/')}/v1/{signal}" if base else None


class SpanCounts(NamedTuple):
    """What the exporter did with the spans that it was given so far."""

    exported: int = 0
    dropped: int = 0

    def after(self, number: int, dropped: int) -> "SpanCounts":
        """Return the counts after so many spans more, and so many dropped among them."""
        return SpanCounts(self.exported + number - dropped, self.dropped + dropped)


class Parts(NamedTuple):
    """What an exporter is used with."""

    keeps: Sampler
    count_dropped: Callable[[int], None]  # so many spans more were dropped; may raise sqlite3.Error
    values: Callable[[], Values]
    log: Log
    clock: Callable[[], float]  # monotonic seconds
    max_in_hand: int = MAX_IN_HAND


class Exporter:
    """The exporter's process, and what became of the spans that it and those before it were given."""

    def __init__(self, setup: Setup, parts: Parts) -> None:
        """Start it."""
        self._setup, self._parts = setup, parts
        self._process: _Process | None = None
        self._lost = self._counted = 0  # spans: not given to a process that lives, and those in the store
        self._start()

    def __call__(self, counted: Sequence[Event]) -> None:
        """Hand on what was counted just now, as far as it is to be told."""
        kept = [event for event in counted if self._parts.keeps(event)]
        if (spans := sum(map(spans_in, kept))) and not (
            self._process and self._process.give_events(kept, spans)
        ):
            self._lost += spans

    def tick(self) -> None:
        """Hear what became of it, hand the values on, count drops; start another where that is due."""
        if self._process and not self._process.hear():
            self._parts.log("warning", "the exporter of spans has died")
            self._let_go()
        if not self._process and self._parts.clock() >= self._next_start:
            self._start()
        self._give_values()
        self._count()

    def close(self) -> None:
        """Have it flush, for FLUSH_SECONDS and a little more at most, and count what is left."""
        self._give_values()
        if self._process:
            self._process.finish()
            self._let_go()
        self._count()

    def _start(self) -> None:
        self._next_start = self._parts.clock() + _RESTART_SECONDS
        try:
            self._process = _Process(self._setup, self._parts.max_in_hand)
        except OSError as error:
            self._parts.log("warning", f"cannot start the exporter of spans: {describe(error)}")

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
        with contextlib.suppress(sqlite3.Error):  # the loop has told of it; at the next tick
            self._parts.count_dropped(dropped - self._counted)
            self._counted = dropped


class _Process:
    """One exporter: what it was given, and what it reports."""

    def __init__(self, setup: Setup, max_in_hand: int) -> None:
        """Start it, to have so many spans in hand at the most; OSError where that cannot be."""
        self._max_in_hand = max_in_hand
        self._line, theirs = socket.socketpair()
        command = [sys.executable, "-IS", "-c", _RUN, *sys.path]
        with theirs:
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        self._stream = Stream(self._line.fileno(), _HAND_OVER_SECONDS)
        self._stream.put(frames.of_setup(setup))
        self._heard = b""
        self.given, self.counts = 0, SpanCounts()

    def give_events(self, events: Sequence[Event], spans: int) -> bool:
        """Hand on events that make so many spans; False where there is no room for them."""
        if not (self._has_room(spans) and self._stream.put(frames.of_events(events))):
            return False
        self.given += spans
        return True

    def give_values(self, values: Values) -> None:
        """Hand on the values of all series; they are in the next frame again, should there be no room."""
        self._stream.put(frames.of_values(values))

    def _has_room(self, spans: int) -> bool:
        """Whether it keeps up, well before anything is made of what it could not take."""
        if self.given - sum(self.counts) + spans > self._max_in_hand:
            self.hear()
        return self.given - sum(self.counts) + spans <= self._max_in_hand

    def hear(self) -> bool:
        """Take what it has reported; False where it has ended."""
        try:
            while data := self._line.recv(_REPORTS, socket.MSG_DONTWAIT):
                *reports, self._heard = (self._heard + data).split(b"\n")
                if reports:
                    self.counts = SpanCounts(*map(int, reports[-1].split()))
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def finish(self) -> None:
        """Hand over the rest, tell it that this was all, and hear it to its end."""
        self._stream.close()
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + FLUSH_SECONDS
        news = select.poll()
        news.register(self._line, select.POLLIN)
        while self.hear() and (left := deadline - time.monotonic()) > 0:
            news.poll(left * 1000)

    def close(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._stream.close()  # nobody reads any more, so no write of it blocks or is left
        self._line.close()
