"""The exporter process, in which OpenTelemetry's SDK runs.

Owns the SDK's setup and shutdown. exporter.py starts it with a socket as descriptor 0: frames come in, and
counts of spans go out, one line each. It ends when the sidecar ends, for whatever reason, and at most
FLUSH_SECONDS later, whatever a collector does.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from observability.errors import Log, describe
from observability.log.messages import Messages, Stream
from observability.otlp import frames
from observability.otlp.exporter import FLUSH_SECONDS, NAME, SpanCounts, signal_endpoint
from observability.otlp.frames import Setup
from observability.otlp.queue import CountedExporter, IsOver, SpanQueue, size_of
from observability.otlp.spans import Spans

_NICENESS = 5  # if there is one core for everything, the intake comes first
_LOOK_MILLISECONDS = 20
_EXIT_SECONDS = 0.2  # of FLUSH_SECONDS
_LOG_AGAIN_SECONDS = 60.0
_HEADERS_READER = "opentelemetry.util.re"
_VALUES_BEFORE_A_LOOK = 20_000  # spans hold no reference cycles; values are many objects

Frame = tuple[bytes, bytes]


def main() -> None:
    """Export until the input ends; never return, because the SDK's threads may hang."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A service manager or terminal signals all of us, but this process ends only after the sidecar.
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    _trust_the_system()
    with socket.socket(fileno=0) as line:
        received = _received(line)
        kind, content = next(received, (b"", b""))
        if kind == frames.SETUP:
            _export(frames.setup_in(content), received, line)
    os._exit(0)


def _trust_the_system() -> None:
    """Verify collectors as gateways are: with the system's authorities, not those bundled with requests."""
    authorities = ssl.get_default_verify_paths()  # honours SSL_CERT_FILE and SSL_CERT_DIR
    if place := authorities.cafile or authorities.capath:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", place)


def _export(setup: Setup, received: Iterable[Frame], line: socket.socket) -> None:
    stderr = Stream(2, _EXIT_SECONDS)
    log = Messages(stderr, time.time, as_json=setup.json)

    def give_up(error: BaseException | None) -> None:
        log(
            "error",
            f"cannot export spans and metrics: {cause_of(error) if error else 'no reason given'}",
        )
        stderr.close()
        os._exit(1)

    _listen_to_the_sdk(log)
    # If any thread fails, ours or the SDK's, exit, so that the sidecar starts another process.
    threading.excepthook = lambda args: give_up(args.exc_value)
    try:
        _work(setup, received, line)
    except Exception as error:  # noqa: BLE001  the boundary, as for threads
        give_up(error)
    stderr.close()


def _work(setup: Setup, received: Iterable[Frame], line: socket.socket) -> None:
    """Process frames until the input ends, then flush."""
    resource = resource_of(setup)
    takers: dict[bytes, Callable[[bytes], None]] = {}
    closers = []
    if setup.metrics:
        from observability.otlp.metrics import OtlpMetrics  # a tenth of the start

        metrics = OtlpMetrics(setup, resource)
        takers[frames.VALUES] = lambda content: metrics.take(frames.values_in(content))
        closers.append(metrics.close)
    spans = Spans(resource, InstrumentationScope(NAME, setup.version), setup.privacy)
    exporter = CountedExporter(signal_endpoint(setup.endpoint, "traces"), _reporter(line))
    read = partial(frames.events_in, refusal_seconds=setup.refusal_seconds)
    queue = SpanQueue(spans, exporter, size_of(os.environ), read, _end_of(line))
    takers[frames.EVENTS] = queue.put  # events stay unparsed until there is room for their spans
    closers.append(queue.close)
    gc.freeze()
    gc.set_threshold(_VALUES_BEFORE_A_LOOK)
    for kind, content in received:
        takers[kind](content)
    _flush(closers)


class _SdkLog(logging.Handler):
    """The SDK's log, each message at most once a minute: e.g. that a collector is down."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._logged: dict[object, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record without its traceback."""
        now = time.monotonic()
        if now - self._logged.get(record.msg, -_LOG_AGAIN_SECONDS) >= _LOG_AGAIN_SECONDS:
            self._logged[record.msg] = now
            # Without the arguments of _HEADERS_READER, which are headers and may hold credentials.
            self._log(record.levelname.lower(), f"OpenTelemetry: {_text_of(record)}")


def resource_of(setup: Setup) -> Resource:
    """Return the resource; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME override our attributes."""
    ours = {
        "service.name": NAME,
        "service.version": setup.version,
        "service.instance.id": setup.instance,
        "host.name": socket.gethostname(),
    }
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


def _received(line: socket.socket) -> Iterator[Frame]:
    """Yield frames until the sidecar has ended."""
    with contextlib.suppress(OSError):
        yield from frames.read(line.makefile("rb"))


def _reporter(line: socket.socket) -> Callable[[SpanCounts], None]:
    """Return a function that sends the counts; each report is complete, so losing one does no harm."""

    def report(counts: SpanCounts) -> None:
        with contextlib.suppress(OSError):
            line.send(b"%d %d\n" % counts, socket.MSG_DONTWAIT)

    return report


def _end_of(line: socket.socket) -> IsOver:
    """Return a function that waits briefly for the sidecar to end or to close its side."""
    end = select.poll()
    end.register(line, select.POLLRDHUP)
    return lambda: bool(end.poll(_LOOK_MILLISECONDS))


def _flush(closers: Sequence[Callable[[], None]]) -> None:
    """Close all, each in its own thread: the SDK's own time limits are none, or ten seconds."""
    threads = [threading.Thread(target=close, daemon=True) for close in closers]
    deadline = time.monotonic() + FLUSH_SECONDS - _EXIT_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))


def _listen_to_the_sdk(log: Log) -> None:
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    logging.getLogger().addHandler(_SdkLog(log))


def _text_of(record: logging.LogRecord) -> str:
    """Return a message as one line, with each exception in it reduced to its cause."""
    if record.name == _HEADERS_READER:
        # This logger's arguments are headers, and so may hold credentials.
        return " ".join(str(record.msg).split())
    if isinstance(record.args, tuple):
        record.args = tuple(cause_of(arg) if isinstance(arg, Exception) else arg for arg in record.args)
    return " ".join(record.getMessage().split())


def cause_of(error: BaseException) -> str:
    """Return the cause of an error: the innermost of those that libraries wrapped around each other."""
    inner = _wrapped(error)
    if inner:
        return cause_of(inner)
    if isinstance(error, ssl.SSLCertVerificationError):
        return describe(error)
    reason = getattr(error, "strerror", None) if isinstance(error, OSError) else None
    return reason or " ".join(str(error).split()).rpartition(": ")[2] or type(error).__name__


def _wrapped(error: BaseException) -> BaseException | None:
    """Return the error that this one wraps, as Python, requests or urllib3 store it."""
    found = (error.__cause__, getattr(error, "reason", None), *error.args, error.__context__)
    return next((one for one in found if isinstance(one, BaseException) and one is not error), None)
