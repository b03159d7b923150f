"""The queue of spans in front of the SDK's exporter, which counts every one.

Owns what happens to a span between its event and the collector's answer. The SDK's queue would discard the
oldest spans uncounted. So it is never allowed to overflow: the thread that fills it waits while it is full,
and exporter.py drops the excess before any work is spent on it.
"""

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # stubs: one more package
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from observability.arrivals.parsing import Event
from observability.otlp.exporter import SpanCounts
from observability.otlp.sampling import spans_in
from observability.otlp.session import session
from observability.otlp.spans import Spans

QUEUE = 32768  # spans: a burst of 20,000 overran the SDK's own 2,048
MAX_BATCH = 512  # spans, the SDK's default
_BATCH = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_MAX_OF_SESSION = 2  # spans

_ALL = sys.maxsize  # all spans of a batch, whatever its size

Read = Callable[[bytes], list[Event]]
IsOver = Callable[[], bool]


def size_of(environ: Mapping[str, str]) -> int:
    """Return how many spans may wait, as OTEL_BSP_MAX_QUEUE_SIZE says."""
    asked = environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    return max(int(asked), _MAX_OF_SESSION) if asked.isdecimal() else QUEUE


class SpanQueue:
    """The SDK's batch processor, and the thread that fills it."""

    def __init__(
        self, spans: Spans, exporter: "CountedExporter", size: int, read: Read, is_over: IsOver
    ) -> None:
        """read: parses events; spans: makes their spans; is_over: called while the queue is full."""
        self._spans, self._exporter, self._size = spans, exporter, size
        self._read, self._is_over = read, is_over
        self._submitted = 0
        # The SDK rejects a batch larger than the queue; a size set in the environment is left alone.
        batch = None if _BATCH in os.environ else min(MAX_BATCH, size)
        self._processor = BatchSpanProcessor(exporter, max_queue_size=size, max_export_batch_size=batch)
        self._waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # unparsed, to save memory
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def put(self, events: bytes) -> None:
        """Make and export the spans of events, unless the sidecar ends before there is room for them."""
        self._waiting.put(events)

    def close(self) -> None:
        """Export everything that waits, however long it takes."""
        self._waiting.put(b"")
        self._thread.join()
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own

    def _run(self) -> None:
        while events := self._waiting.get():
            for event in self._read(events):
                self._take(event)

    def _take(self, event: Event) -> None:
        number = spans_in(event)
        while self._submitted - self._exporter.taken + number > self._size:
            if self._is_over():
                return
        self._submitted += number
        for span in self._spans.of(event):
            self._processor.on_end(span)


class CountedExporter(SpanExporter):
    """The SDK's exporter, with counts of the spans taken from the queue and their outcome."""

    def __init__(self, endpoint: str | None, report: Callable[[SpanCounts], None]) -> None:
        """Export to endpoint, or as the environment says; report the counts after each batch."""
        self._report = report
        self._inner = OTLPSpanExporter(endpoint=endpoint, session=session(self._answered))
        self._refused = 0
        self._counts = SpanCounts()
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export one batch."""
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            refused = self._refused if result is SpanExportResult.SUCCESS else len(spans)
            self._counts = self._counts.after(len(spans), min(refused, len(spans)))
            self._report(self._counts)
        return result

    def _answered(self, status: int, body: bytes) -> None:
        """Check what the SDK does not: redirects, which it takes for success, and partial successes."""
        self._refused = _ALL if status >= HTTPStatus.MULTIPLE_CHOICES else 0
        with contextlib.suppress(DecodeError):
            response = ExportTraceServiceResponse.FromString(body)
            self._refused += max(0, response.partial_success.rejected_spans)

    def shutdown(self) -> None:
        """Close the connection, and end retries."""
        self._inner.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own
