"""What one session weighs: its record, its event, its place in the store, and its spans on their way."""

import os
import tempfile
from pathlib import Path

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from observability.arrivals.parsing import Event, parse
from observability.event import build
from observability.otlp.spans import Spans
from observability.privacy import Privacy
from tests.bench.generator import send
from tests.support.sidecar import RECORD, RunningSidecar, fields

EVENTS = 100_000
_BATCH = 256  # sessions in an export of the SDK's 512 spans


def run() -> list[str]:
    """Return a line for each figure."""
    sent = encode_spans([span for _ in range(_BATCH) for span in _spans()]).SerializeToString()
    return [
        (
            f"a session: a record of {len(RECORD) + 1} bytes, an event of {len(build(fields()))}, "
            f"{_identity():.0f} in the store while its identity is kept"
        ),
        f"a session's two spans, in exports of 512: {len(sent) / _BATCH:.0f} bytes",
    ]


def _spans() -> list[ReadableSpan]:
    event = parse(build(fields({"CLIENT_PORT": b"%d" % (1024 + os.getrandom(1)[0])})).rstrip(b"\0"))
    if not isinstance(event, Event):
        raise TypeError(event.reason)
    resource = Resource.create({"service.name": "qmail-popup", "host.name": "mail1.example.org"})
    privacy = Privacy("hash", "plain", bytes(32))
    return Spans(resource, InstrumentationScope("qmail-popup"), privacy).of(event)


def _identity() -> float:
    """Return the bytes that each event adds to the store's file."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-sizes-") as scratch,
        RunningSidecar(Path(scratch)) as sidecar,
    ):
        send(str(sidecar.socket), EVENTS)
        sidecar.stop()
        return sidecar.state.stat().st_size / EVENTS
