"""The pusher, `--once`: counts and pushes what popups left on a host without a sidecar, and soon ends.

Owns its own life. While it has the turn it drains and pushes, for as long as events come; then it closes the
store, gives the turn up, and looks at the spool once more: a popup leaves its event first and tries for the
turn after that, so one of the two sees the other. All that it does is as safe against kill -9 as the store
is, so SIGTERM simply ends it, and a sidecar takes over. It starts no thread and opens no port: it may have to
live in 64 MB.
"""

import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from observability.arrivals.spool import Spool
from observability.errors import UnusableError
from observability.prometheus import collector as metrics
from observability.pushgateway.group import Group
from observability.pushgateway.push import Pushing, Result
from observability.settings import Settings
from observability.store import schema
from observability.store.database import Clocks, Store
from observability.store.families import PUSHED, Series
from observability.store.locks import PUSHER, claimed
from observability.store.pusher_lock import Turn
from qmail_popup import VERSION

FAILURES_MOST = 20
_TICK_SECONDS = 0.75  # the spool is to be taken away every two
_LOCKED_SECONDS = 5.0  # for somebody who looks at the store while we start

Say = Callable[[str, str], None]


def run(settings: Settings, group: Group, clocks: Clocks, say: Say) -> None:
    """Push to group until nothing new comes; UnusableError where somebody else is at it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # also where it was ignored: a sidecar may be waiting
    try:
        with closing(Turn(settings.spool)) as turn:
            if not turn.taken():
                raise UnusableError(f"a pusher or a sidecar is at work on {settings.spool}")
            while True:
                is_stuck = _serve(settings, group, clocks, say)
                turn.give_up()
                if is_stuck or not _waiting(settings.spool) or not turn.taken():
                    return
    except (OSError, sqlite3.Error) as error:
        raise UnusableError(f"cannot go on: {error}") from error


def give_up_root(spool: Path) -> None:
    """Become the spool directory's owner, where this is root; UnusableError."""
    if os.geteuid() != 0:
        return
    try:
        owner = spool.stat()
        os.setgroups([])
        os.setgid(owner.st_gid)  # to which the files in it belong
        os.setuid(owner.st_uid)
    except OSError as error:
        raise UnusableError(f"cannot become the owner of the spool: {error}") from error


def _serve(settings: Settings, group: Group, clocks: Clocks, say: Say) -> bool:
    """Be the store's writer until nothing new comes; whether something was left that cannot be drained."""
    with (
        claimed(settings.state, PUSHER),
        closing(Store(schema.open_file(settings.state, _LOCKED_SECONDS), clocks)) as store,
        closing(Pushing(group, _body(settings, store), clocks.monotonic)) as pushing,
    ):
        return _Service(settings, store, pushing, clocks.monotonic, say).run()


def _body(settings: Settings, store: Store) -> Callable[[], bytes]:
    """Return what makes the text to push: all but how many sessions there are, which nobody here knows."""
    sources = metrics.Sources(
        committed=lambda: store.committed,
        active=None,
        spool_bytes=lambda: _waiting(settings.spool),
        sessions_limit=settings.sessions_limit,
        version=VERSION,
    )
    return lambda: metrics.exposition(sources)


def _waiting(directory: Path) -> int:
    with closing(Spool(directory, time.monotonic)) as spool:
        return spool.waiting_bytes()


class _Service:
    """The loop: drain, and push at each interval. It waits for the gateway, or its name, between drains."""

    def __init__(
        self, settings: Settings, store: Store, pushing: Pushing, clock: Callable[[], float], say: Say
    ) -> None:
        self._settings, self._store, self._pushing = settings, store, pushing
        self._clock, self._say = clock, say
        self._is_news = True  # what the last push has not got; at the start, what a predecessor left
        self._failures = 0
        self._next_sync = clock()
        self._trouble = ""  # with the spool or the store, said already
        self._results: Counter[Series] = Counter()  # of pushes, not yet in the store

    def run(self) -> bool:
        """Go on until the last push held all, or the gateway takes none; whether a drain is stuck."""
        due = self._clock()
        while True:
            self._drain()
            if self._clock() >= due and self._pushing.is_idle:
                if not self._is_news or self._failures >= FAILURES_MOST:
                    return bool(self._trouble)
                self._is_news = False
                self._pushing.begin()
                due = self._clock() + self._settings.push_interval
            self._wait(due)

    def _drain(self) -> None:
        """Count all that waits. Whatever stops this, a file goes only once all of it was committed."""
        before = self._store.committed
        try:
            with closing(Spool(self._settings.spool, self._clock)) as spool:
                self._empty(spool)
                trouble = spool.trouble
        except sqlite3.Error as error:
            trouble = f"the store: {error}"
        if trouble and trouble != self._trouble:
            self._say("warning", trouble)
            self._is_news = True  # it may have been a writer in flight
        self._trouble = trouble
        self._is_news |= self._store.committed is not before
        self._count_pushes()

    def _empty(self, spool: Spool) -> None:
        spool.begin()
        while spool.is_draining:
            if arrivals := spool.arrivals():
                self._store.commit(arrivals)
            self._sync()
            began = spool.settle()
            if began is not None:
                self._store.drained(began)
        if (lost := spool.lost_bytes()) is not None:
            self._store.lost(lost)
        self._store.sync()

    def _sync(self) -> None:
        """Sync once in a while: a full spool takes ten seconds."""
        if self._clock() >= self._next_sync:
            self._next_sync = self._clock() + _TICK_SECONDS
            self._store.sync()

    def _count_pushes(self) -> None:
        """Count what became of pushes; that alone is no news, or there would be no end."""
        try:
            if self._results:
                self._store.count(self._results)
                self._results.clear()
        except sqlite3.Error:
            pass  # they stay for the next time

    def _wait(self, due: float) -> None:
        """Wait for the gateway's answer, or for the next thing to do."""
        if self._pushing.is_idle:
            time.sleep(max(0.0, min(_TICK_SECONDS, due - self._clock())))
        elif result := self._pushing.go_on(_TICK_SECONDS):
            self._note(result)

    def _note(self, result: Result) -> None:
        self._results[PUSHED[not result.error]] += 1
        self._failures = self._failures + 1 if result.error else 0
        self._is_news |= bool(result.error)
        if result.error:
            self._say("warning", result.error)
