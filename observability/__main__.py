"""The sidecar's program: argv and environment in, exit status out.

The one place that puts the parts together, and that knows this process: its descriptors, signals and limits.
"""

import os
import resource
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from observability import pusher
from observability.arrivals import listener as listening
from observability.arrivals.connections import CONNECTIONS_MOST, Intake
from observability.arrivals.spool import Spool
from observability.errors import UnusableError
from observability.log.messages import Messages, Stream
from observability.log.reports import Reports
from observability.log.sessions import SessionLog
from observability.otlp import exporter as otlp
from observability.otlp.sampling import sampler
from observability.privacy import Privacy, load_key
from observability.prometheus.collector import Sources, exposition, registry
from observability.prometheus.endpoint import Endpoint
from observability.prometheus.pages import Pages
from observability.prometheus.textfile import Textfile, TextfileThread
from observability.pushgateway import group, push
from observability.pushgateway.push import Pushing
from observability.pushgateway.thread import PushThread
from observability.settings import PROGRAM, Settings, parse
from observability.sidecar import Parts, Sidecar, Sink
from observability.store import families, schema
from observability.store.database import Clocks, Store
from observability.store.locks import SIDECAR, claimed
from observability.store.pusher_lock import Turn
from qmail_popup import VERSION

_LOCKED_SECONDS = 5.0  # for somebody who looks at the store while we start
_LAST_WORDS_SECONDS = 2.0
_OTHER_DESCRIPTORS = 128  # beside popups' connections
_STATE_MODE = 0o750
_SPOOL_MODE = 0o2770  # root and the popups' group, which all files in it belong to
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Be the sidecar until SIGTERM or SIGINT; return the exit status."""
    try:
        settings = parse(argv, environ, VERSION)
    except UnusableError as error:
        _tell("error", str(error))
        return 1
    _fill_standard_descriptors()
    os.umask(0o077)
    if settings.once or settings.delete_group:
        return _without_serving(settings)
    with closing(Stream(2, _LAST_WORDS_SECONDS)) as stderr, ExitStack() as stack:
        say = Messages(stderr, time.time, as_json=settings.json_log)
        try:
            sidecar = _sidecar(settings, environ, say, stack)
            listening.notify(environ, "READY=1")
            done = sidecar.run()
        except UnusableError as error:
            say("error", str(error))
            return 1
        listening.notify(environ, "STOPPING=1")
        return 0 if done else 1


def _without_serving(settings: Settings) -> int:
    """Be the pusher, or remove the group from the gateway: in this one thread, and on no port."""
    try:
        if settings.once:
            pusher.give_up_root(settings.spool)
            pusher.run(settings, group.of_host(settings), _clocks(), _tell)
        else:
            push.remove(group.of_host(settings), time.monotonic)
    except UnusableError as error:
        _tell("error", str(error))
        return 1
    return 0


def _tell(_level: str, message: str) -> None:
    print(f"{PROGRAM}: {message}", file=sys.stderr)


def _sidecar(settings: Settings, environ: Mapping[str, str], say: Messages, stack: ExitStack) -> Sidecar:
    """Put the parts together; stack takes them apart again, in reverse."""
    store = _store(settings, say, stack)
    stop = stack.enter_context(_stop_signals())
    spool = stack.enter_context(closing(_spool(settings, say)))
    intake, chores = _intake(settings, environ, stop, stack)
    sources = Sources(
        committed=lambda: store.committed,
        active=lambda: intake.active,
        spool_bytes=spool.waiting_bytes,
        sessions_limit=settings.sessions_limit,
        version=VERSION,
    )
    chores.append(stack.enter_context(closing(Turn(settings.spool))).keep)
    chores.append(_pushes(settings, store, partial(exposition, sources), say, stack))
    privacy = _privacy(settings)
    sinks: list[Sink] = []
    # They end first, so that the last push tells what became of their last lines and spans.
    for sink in (
        _session_log(settings, store, privacy, say),
        _exporter(settings, (store, intake, privacy, say)),
    ):
        if sink:
            sinks.append(stack.enter_context(closing(sink)))
            chores.append(sink.tick)
    endpoint = stack.enter_context(closing(_endpoint(settings, sources)))
    say("info", f"popups connect to {intake.address}, metrics are on {endpoint.url}")
    return Sidecar(Parts(intake, spool, store, say, sinks, chores), stop, time.monotonic)


def _pushes(
    settings: Settings, store: Store, text: Callable[[], bytes], say: Messages, stack: ExitStack
) -> Callable[[], None]:
    """Start what leaves at every interval; return the chore that takes the reports of it."""
    reports = Reports(store.count, say)
    stack.callback(reports.take)  # of the last ones, too
    if settings.textfile:
        textfile = Textfile(settings.textfile, text)
        thread = TextfileThread(textfile, settings.push_interval, reports.put)
        stack.enter_context(closing(thread))
    if settings.push:
        pushing = Pushing(group.of_host(settings), text, time.monotonic)
        push_thread = PushThread(pushing, settings.push_interval, reports.put, time.monotonic)
        stack.enter_context(closing(push_thread))
    return reports.take


def _store(settings: Settings, say: Messages, stack: ExitStack) -> Store:
    state = settings.state
    _make_directory(state.parent, _STATE_MODE)
    stack.enter_context(claimed(state, SIDECAR))
    try:
        if settings.reset_state and state.exists():
            say(
                "info",
                f"moved the state to {schema.set_aside(state, f'{datetime.now(UTC):%Y%m%dT%H%M%S.%f}')}",
            )
        return stack.enter_context(closing(Store(schema.open_file(state, _LOCKED_SECONDS), _clocks())))
    except (sqlite3.Error, OSError) as error:
        raise UnusableError(f"cannot use the store {state}: {error}") from error


def _clocks() -> Clocks:
    return Clocks(time.time, time.monotonic, _BOOT.read_text().strip() if _BOOT.exists() else "")


def _spool(settings: Settings, say: Messages) -> Spool:
    try:
        _make_directory(settings.spool, _SPOOL_MODE)
    except UnusableError as error:
        say("warning", str(error))  # popups can still connect
    return Spool(settings.spool, time.monotonic)


def _intake(
    settings: Settings, environ: Mapping[str, str], stop: int, stack: ExitStack
) -> tuple[Intake, list[Callable[[], None]]]:
    """Listen; with a socket of our own there is the chore to make it anew where somebody removed it."""
    most = min(CONNECTIONS_MOST, _raise_descriptor_limit() - _OTHER_DESCRIPTORS)
    if most < 1:
        raise UnusableError(
            f"the limit of open files leaves none for popups: it has to be over {_OTHER_DESCRIPTORS}"
        )
    if handed_over := listening.inherited(environ, os.getpid()):
        return stack.enter_context(closing(Intake(handed_over, stop, time.monotonic, most))), []
    door = stack.enter_context(closing(listening.Door(settings.socket)))
    intake = stack.enter_context(closing(Intake(door.listener, stop, time.monotonic, most)))

    def renew() -> None:
        if listener := door.renewed():
            intake.move(listener)

    return intake, [renew]


def _privacy(settings: Settings) -> Privacy:
    key = load_key(Path(f"{settings.state}.key")) if settings.user_names == "hash" else b""
    return Privacy(settings.user_names, settings.client_addresses, key)


def _session_log(settings: Settings, store: Store, privacy: Privacy, say: Messages) -> SessionLog | None:
    if not settings.json_log:
        return None

    def count(lost: int) -> None:
        store.count({(families.LOG_LINES_LOST.name,): lost})

    return SessionLog(Stream(1, _LAST_WORDS_SECONDS), privacy, time.time, count, say)


def _exporter(settings: Settings, sources: tuple[Store, Intake, Privacy, Messages]) -> otlp.Exporter | None:
    """Start the exporter, where spans or metrics are wanted."""
    store, intake, privacy, log = sources
    if not (settings.otlp_spans or settings.otlp_metrics):
        return None
    setup = otlp.Setup(
        endpoint=settings.otlp,
        counters=settings.otlp_metrics,
        privacy=privacy,
        instance=settings.instance,
        version=VERSION,
        born=int(store.born * 1e9),
        json=settings.json_log,
    )
    parts = otlp.Parts(
        keeps=sampler(settings.sample_accepted) if settings.otlp_spans else lambda _: False,
        book=lambda dropped: store.count({(families.SPANS_DROPPED.name,): dropped}),
        snapshot=lambda: otlp.Snapshot(store.committed.values, intake.active),
        log=log,
        clock=time.monotonic,
    )
    return otlp.Exporter(setup, parts)


def _endpoint(settings: Settings, sources: Sources) -> Endpoint:
    pages = Pages(registry(sources), lambda: True, VERSION)
    return Endpoint(settings.host, settings.port, pages.answer, settings.tls)


@contextmanager
def _stop_signals() -> Iterator[int]:
    """Give a descriptor that is readable once SIGTERM or SIGINT came."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.settimeout(0)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        yield reading.fileno()
        signal.set_wakeup_fd(-1)


def _fill_standard_descriptors() -> None:
    """See that nothing which is opened later can be mistaken for stdout or stderr."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004  stdin, stdout, stderr
        pass
    os.close(fd)


def _make_directory(path: Path, mode: int) -> None:
    try:
        if path.exists():
            return
        path.mkdir()
        path.chmod(mode)  # whatever the umask
    except OSError as error:
        raise UnusableError(f"cannot make {path}: {error}") from error


def _raise_descriptor_limit() -> int:
    """Use what we may: each popup that is connected costs a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, CONNECTIONS_MOST + _OTHER_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
