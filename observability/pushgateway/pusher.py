"""The pusher, `--once`: counts and pushes what popups left on a host without a sidecar, then exits.

Owns its own lifetime. While it holds the pusher lock, it runs the sidecar's loop over the spool and the
gateway for as long as events arrive. Then it closes the store, releases the lock and checks the spool once
more: a popup leaves its event before it tries the lock, so one of the two sees the other. It survives kill -9
as the store does, so SIGTERM just kills it, and a sidecar takes over. It starts no thread and opens no port,
because it may have to run in 64 MB. Its errors go to DIR/pusher.error, where popups look.
"""

import contextlib
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from observability.arrivals.parsing import Arrival, parse
from observability.arrivals.paths import Watch
from observability.arrivals.spool import Spool
from observability.errors import Log, UnusableError, describe
from observability.log.reports import Reports
from observability.prometheus import collector as metrics
from observability.pushgateway.failure import noted
from observability.pushgateway.group import of_host
from observability.pushgateway.push import Pushing, Result
from observability.settings import Settings
from observability.sidecar import TICK_SECONDS, Loop, Parts
from observability.store import schema
from observability.store.clocks import Clocks
from observability.store.database import Store
from observability.store.families import PUSHED, Series
from observability.store.history import History
from observability.store.locks import PUSHER, PusherLock, StoreLock
from observability.store.presence import Presence
from qmail_popup import VERSION

MAX_FAILURES = 20
_LOCKED_SECONDS = 5.0  # in case another process is reading the store


def run(settings: Settings, clocks: Clocks, log: Log) -> None:
    """Push until no more events arrive; UnusableError if that fails, or if another process is at work."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # even if it was ignored: a sidecar may be waiting
    try:
        with closing(PusherLock(settings.spool)) as lock:
            if not lock.take():
                raise UnusableError(f"a pusher or sidecar already uses {settings.spool}")
            with noted(settings.spool):
                _run_with(lock, settings, clocks, log)
    except (OSError, sqlite3.Error) as error:
        raise UnusableError(f"cannot continue: {describe(error)}") from error


def _run_with(lock: PusherLock, settings: Settings, clocks: Clocks, log: Log) -> None:
    while True:
        is_stuck = _serve(settings, clocks, log, lock)
        lock.release()
        if is_stuck or not _waiting(settings.spool) or not lock.take():
            return


def drop_privileges(spool: Path) -> None:
    """Become the owner of the spool directory, if root; UnusableError."""
    if os.geteuid() != 0:
        return
    try:
        owner = spool.stat()
        os.setgroups([])
        os.setgid(owner.st_gid)  # the group of the files in it
        os.setuid(owner.st_uid)
    except OSError as error:
        raise UnusableError(f"cannot become the owner of the spool: {describe(error)}") from error


def _serve(settings: Settings, clocks: Clocks, log: Log, lock: PusherLock) -> bool:
    """Be the store's writer until no more events arrive; return whether some cannot be drained."""
    group = of_host(settings)
    read = partial(parse, refusal_seconds=settings.refusal_seconds)
    with (
        closing(StoreLock(settings.state, PUSHER)) as store_lock,
        closing(Store(schema.open_file(settings.state, _LOCKED_SECONDS), clocks)) as store,
        closing(Spool(settings.spool, clocks.monotonic, read)) as spool,
        closing(Pushing(group, _body(settings, store), clocks.monotonic)) as pushing,
    ):
        reports = Reports(store.count, log)
        of_store = {"state": Presence(settings.state, store).keep, "store_lock": store_lock.keep}
        of_spool = {"spool": spool.keep, "pusher_lock": lock.keep}
        pushes = _Pushes(
            interval=settings.push_interval,
            store=store,
            spool=spool,
            pushing=pushing,
            clock=clocks.monotonic,
            log=log,
        )
        tasks = {
            "pushes": pushes.count,
            "spool paths": Watch(of_spool, reports.put_path).look,
            "reports": reports.take,
            "history": History(store, clocks.time, lambda: None).tick,
        }
        loop = Loop(
            Parts(pushes, spool, store, log, tasks=tasks, keep=Watch(of_store, reports.put_path).look),
            pushes.is_over,
            clocks.monotonic,
            min(TICK_SECONDS, settings.push_interval),
        )
        loop.run()
        loop.log_stuck()
        with contextlib.suppress(sqlite3.Error):
            pushes.count()  # of the last push
        return loop.is_stuck


def _body(settings: Settings, store: Store) -> Callable[[], bytes]:
    """Return a function that makes the text to push; it lacks the open sessions, unknown here."""
    sources = metrics.Sources(
        committed=lambda: store.committed,
        active=lambda: None,
        spool_bytes=lambda: _waiting(settings.spool),
        sessions_limit=settings.sessions_limit,
        version=VERSION,
    )
    return lambda: metrics.exposition(sources)


def _waiting(directory: Path) -> int:
    with closing(Spool(directory, time.monotonic)) as spool:
        return spool.waiting_bytes()


class _Pushes:
    """The pushes, as the loop's receiver: it yields no events, but here the loop waits for the gateway."""

    is_idle = True

    def __init__(  # noqa: PLR0913  the inputs of its decisions
        self,
        *,
        interval: float,
        store: Store,
        spool: Spool,
        pushing: Pushing,
        clock: Callable[[], float],
        log: Log,
    ) -> None:
        self._interval, self._store, self._spool = interval, store, spool
        self._pushing, self._clock, self._log = pushing, clock, log
        self._due = clock()
        self._drains = 0  # how many there were at the last push
        self._is_news = True  # since the last push; at the start, a predecessor's
        self._failures = 0
        self._shown = store.committed
        self._error = ""  # of the spool
        self._counted: Counter[Series] = Counter()  # not yet in the store

    def arrivals(self, timeout: float) -> list[Arrival]:
        """Wait for the gateway's answer, or until the loop's next task."""
        if self._pushing.is_idle:
            time.sleep(max(0.0, timeout))
        elif result := self._pushing.go_on(timeout):
            self._note(result)
        return []

    def acknowledge(self) -> None:
        """Do nothing: the spool's files are removed instead."""

    def is_over(self, timeout: float) -> bool:
        """Push if due after a drain; return whether the last push had everything, or too many failed."""
        time.sleep(timeout)
        is_drained = not self._spool.is_draining and self._spool.drains > self._drains
        if self._clock() < self._due or not self._pushing.is_idle or not is_drained:
            return False
        self._look()
        if not self._is_news or self._failures >= MAX_FAILURES:
            return True
        self._is_news = False
        self._drains, self._due = self._spool.drains, self._clock() + self._interval
        self._pushing.begin()
        return False

    def count(self) -> None:
        """Count the results of pushes; that alone is no reason to push, or there would be no end."""
        self._is_news |= self._store.committed is not self._shown
        if self._counted:
            self._store.count(self._counted)
            self._counted.clear()
        self._shown = self._store.committed

    def _look(self) -> None:
        """Check for anything that the last push lacked, or that the next one may include."""
        error, self._error = self._error, self._spool.error
        may_come = bool(self._error) and self._error != error  # as when a writer is not finished yet
        self._is_news |= may_come or self._store.committed is not self._shown
        self._shown = self._store.committed

    def _note(self, result: Result) -> None:
        self._counted[PUSHED[not result.error]] += 1
        self._failures = self._failures + 1 if result.error else 0
        self._is_news |= bool(result.error)
        if result.error:
            self._log("warning", result.error)
