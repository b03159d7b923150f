"""Assembles a sidecar from its settings.

Owns which parts exist, how they are connected, and the order in which they are closed. What only some
settings need is imported where it is built, so that a sidecar without it starts faster.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from observability.arrivals import listener as listening
from observability.arrivals.connections import MAX_CONNECTIONS, Intake
from observability.arrivals.listener_thread import ListenerThread
from observability.arrivals.parsing import Read
from observability.arrivals.parsing import parse as read_event
from observability.arrivals.paths import Keep, Watch, make_directory
from observability.arrivals.signals import Reload, stop_signals, stopped
from observability.arrivals.spool import Spool
from observability.arrivals.spool_thread import SpoolThread
from observability.errors import Log, UnusableError, reason
from observability.log.messages import Messages, Stream
from observability.log.reports import Reports
from observability.privacy import Privacy, load_key
from observability.prometheus.collector import Sources, exposition, gauges
from observability.settings import Settings
from observability.sidecar import TICK_SECONDS, Loop, Parts, Sink
from observability.status import serving
from observability.status.wrong import UNREADABLE
from observability.store import schema
from observability.store.clocks import clocks
from observability.store.database import Store
from observability.store.families import LOG_LINES_LOST, SPANS_DROPPED
from observability.store.locks import SIDECAR, PusherLock, StoreLock
from observability.store.presence import DIRECTORY_MODE, Presence
from qmail_popup import VERSION

if TYPE_CHECKING:
    from observability.log.sessions import SessionLog
    from observability.otlp.exporter import Exporter
    from observability.store.feed import Feed

_LOCKED_SECONDS = 5.0  # in case another process is reading the store
_LAST_LINES_SECONDS = 2.0  # for a slow reader of descriptor 1
_JSON_LOG, _SPANS = "the JSON log", "the span exporter"


def sidecar(
    settings: Settings, environ: Mapping[str, str], log: Messages, stack: ExitStack
) -> tuple[Intake, Loop]:
    """Build the parts; stack closes them in reverse order."""
    store, keeps = _store(settings, stack)
    reports = Reports(store.count, log)
    stack.callback(reports.take)  # of the last push, too
    stop, reload = stack.enter_context(stop_signals()), Reload(reports.put_error)
    spool = stack.enter_context(closing(_spool(settings, reports, stack)))
    feeds: list[Feed] = []
    tasks: dict[str, Callable[[], object]] = {"reports": reports.take}
    intake = _intake(settings, environ, (stop, reports, tasks), stack)
    sources = Sources(
        committed=lambda: store.committed,
        active=lambda: _active(intake, feeds),
        spool_bytes=spool.waiting_bytes,
        sessions_limit=settings.sessions_limit,
        version=VERSION,
        logs_unreadable=lambda: sum(bool(feed.error) for feed in feeds),
    )
    _start_pushes(settings, partial(exposition, sources), (reports, reload), stack)
    sinks = _sinks(settings, (store, sources, log), tasks, stack)
    # Before we report that we serve: lines written after that must be counted.
    feeds += _feeds(settings, store, sinks, log, stack)
    endpoint, overview = serving.begin(settings, store, sources, tasks, stack)
    reload.parts["certificates"] = endpoint.reload
    log("info", f"popups connect to {intake.address}, metrics are on {endpoint.url}")
    for wake in (spool.wake, *(feed.wake for feed in feeds)):
        intake.watch(wake)
    tasks.update(
        {f"{UNREADABLE} {path}": feed.look for path, feed in zip(settings.read_log, feeds, strict=True)}
    )
    loop = Loop(
        Parts(intake, spool, store, log, sinks, tasks, feeds, Watch(keeps, reports.put_path).look),
        stopped(stop),
        time.monotonic,
    )
    overview.errors += [loop.errors, reports.errors]
    return intake, loop


def _active(intake: Intake, feeds: Sequence["Feed"]) -> int | None:
    """Return how many sessions are open; None if a log is read that does not show it."""
    counts = [intake.active, *(feed.active for feed in feeds)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _feeds(
    settings: Settings, store: Store, sinks: Sequence[Sink], log: Log, stack: ExitStack
) -> list["Feed"]:
    """Start to read other programs' logs."""
    if not settings.read_log:
        return []
    from observability.arrivals import log as logs
    from observability.store.feed import Feed, mark

    # Which events reach each sink: a log line per record, a span per complete session.
    events = {_JSON_LOG: logs.logins, _SPANS: logs.sessions}
    shows = {sink.name: events[sink.name] for sink in sinks}
    is_from_start = settings.read_log_from == "start"
    feeds = []
    for path in settings.read_log:
        thread = logs.LogThread(path, store.mark(mark(path)), from_start=is_from_start)
        stack.enter_context(closing(thread))
        feeds.append(Feed(thread, store, settings.refusal_seconds, shows, log))
    return feeds


def _start_pushes(
    settings: Settings, text: Callable[[], bytes], parts: tuple[Reports, Reload], stack: ExitStack
) -> None:
    """Start the threads that write the textfile and push at every interval."""
    reports, reload = parts
    if settings.textfile:
        from observability.prometheus.textfile import Textfile, TextfileThread

        textfile = Textfile(settings.textfile, text)
        thread = TextfileThread(textfile, settings.push_interval, reports.put)
        stack.enter_context(closing(thread))
    if settings.push:
        from observability.pushgateway import group
        from observability.pushgateway.push import Pushing
        from observability.pushgateway.thread import PushThread

        host = group.of_host(settings)
        reload.parts["credentials"] = host.reload
        pushing = Pushing(host, text, time.monotonic)
        push_thread = PushThread(pushing, settings.push_interval, reports.put, time.monotonic)
        stack.enter_context(closing(push_thread))


def _store(settings: Settings, stack: ExitStack) -> tuple[Store, dict[str, Keep]]:
    """Open the store; return it with the tasks that check its files."""
    state = settings.state
    try:
        make_directory(state.parent, DIRECTORY_MODE)
        lock = stack.enter_context(closing(StoreLock(state, SIDECAR)))
        store = stack.enter_context(closing(Store(schema.open_file(state, _LOCKED_SECONDS), clocks())))
    except (sqlite3.Error, OSError) as error:
        raise UnusableError(f"cannot use the store {state}: {reason(error)}") from error
    return store, {"state": Presence(state, store).keep, "store_lock": lock.keep}


def _spool(settings: Settings, reports: Reports, stack: ExitStack) -> SpoolThread:
    """Start the thread that watches the spool directory and the pusher lock, and drains the spool."""
    spool = Spool(settings.spool, time.monotonic, _reader(settings))
    pusher_lock = stack.enter_context(closing(PusherLock(settings.spool)))
    watch = Watch({"spool": spool.keep, "pusher_lock": pusher_lock.keep}, reports.put_path)
    return SpoolThread(spool, [watch.look], TICK_SECONDS)


def _reader(settings: Settings) -> Read:
    return partial(read_event, refusal_seconds=settings.refusal_seconds)


def _intake(
    settings: Settings,
    environ: Mapping[str, str],
    parts: tuple[int, Reports, dict[str, Callable[[], object]]],
    stack: ExitStack,
) -> Intake:
    """Listen; adds the task that takes over a replacement socket to tasks."""
    stop, reports, tasks = parts
    limit, read = listening.connections_allowed(MAX_CONNECTIONS), _reader(settings)
    if handed_over := listening.inherited(environ, os.getpid()):
        return stack.enter_context(closing(Intake(handed_over, stop, time.monotonic, limit, read)))
    listener = listening.Listener(settings.socket)
    thread = stack.enter_context(closing(ListenerThread(listener, reports.put_path, TICK_SECONDS)))
    intake = stack.enter_context(closing(Intake(listener.socket, stop, time.monotonic, limit, read)))
    tasks["socket"] = partial(thread.hand_over, intake.move)
    return intake


def _sinks(
    settings: Settings,
    parts: tuple[Store, Sources, Messages],
    tasks: dict[str, Callable[[], object]],
    stack: ExitStack,
) -> list[Sink]:
    """Return the sinks for counted events; adds what they do at every tick to tasks."""
    store, sources, log = parts
    privacy, sinks = _privacy(settings), []
    # They close before the push thread, so that the last push includes their last losses.
    if session_log := _session_log(settings, store, privacy, log):
        stack.enter_context(closing(session_log))
        sinks.append(Sink(_JSON_LOG, session_log, (LOG_LINES_LOST.name,)))
        tasks[_JSON_LOG] = session_log.tick
    if exporter := _exporter(settings, (store, sources, privacy, log)):
        stack.enter_context(closing(exporter))
        sinks.append(Sink(_SPANS, exporter, (SPANS_DROPPED.name,)))
        tasks[_SPANS] = exporter.tick
    return sinks


def _privacy(settings: Settings) -> Privacy:
    key = load_key(Path(f"{settings.state}.key")) if settings.user_names == "hash" else b""
    return Privacy(settings.user_names, settings.client_addresses, key)


def _session_log(settings: Settings, store: Store, privacy: Privacy, log: Messages) -> "SessionLog | None":
    if not settings.json_log:
        return None
    from observability.log.sessions import SessionLog

    def count(lost: int) -> None:
        store.count({(LOG_LINES_LOST.name,): lost})

    return SessionLog(Stream(1, _LAST_LINES_SECONDS), privacy, time.time, count, log)


def _exporter(settings: Settings, parts: tuple[Store, Sources, Privacy, Messages]) -> "Exporter | None":
    """Start the exporter if spans or metrics are enabled."""
    store, sources, privacy, log = parts
    if not (settings.otlp_spans or settings.otlp_metrics):
        return None
    from observability.otlp import exporter as otlp
    from observability.otlp.frames import Setup
    from observability.otlp.sampling import sampler

    setup = Setup(
        endpoint=settings.otlp,
        metrics=settings.otlp_metrics,
        privacy=privacy,
        instance=settings.instance,
        version=VERSION,
        born=int(store.born * 1e9),
        json=settings.json_log,
        refusal_seconds=settings.refusal_seconds,
    )
    used = otlp.Parts(
        keeps=sampler(settings.sample_accepted) if settings.otlp_spans else lambda _: False,
        count_dropped=lambda dropped: store.count({(SPANS_DROPPED.name,): dropped}),
        values=lambda: {**store.committed.values, **gauges(sources)},
        log=log,
        clock=time.monotonic,
    )
    return otlp.Exporter(setup, used)
