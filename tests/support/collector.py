"""An OTLP/HTTP receiver: decodes requests, and misbehaves on demand."""

import contextlib
import gzip
import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.authority import Authority
from tests.support.background import served
from tests.support.processes import children
from tests.support.waiting import until

_PIECE = 65536

Attributes = dict[str, str | int]

_DECODED: Mapping[str, Callable[[bytes], bytes]] = {
    "": lambda body: body,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


class Request(NamedTuple):
    """One POST, with its decompressed body and the answer's status."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int


class Received(NamedTuple):
    """One span, with the resource and scope from its request."""

    span: Span
    resource: Attributes
    scope: tuple[str, str]  # name, version

    @property
    def attributes(self) -> Attributes:
        """Return the span's attributes by name; a duplicate fails the test."""
        return attributes(self.span.attributes)


class Point(NamedTuple):
    """One data point of a counter or gauge."""

    value: float
    start: int  # nanoseconds since 1970


Points = dict[str, dict[frozenset[tuple[str, str | int]], Point]]
"""Name → attributes → number."""


class Collector:
    """Listens on a port chosen by the kernel while the context lasts.

    status: of its answers; refuses: number of spans rejected in each request; tail: number of bytes added to
    each answer; gate: answers only while this is set; requests: those answered
    """

    def __init__(self, identity: Authority | None = None) -> None:
        """Listen. identity: certificate for TLS."""
        self.status, self.refuses, self.tail = 200, 0, 0
        self.gate = threading.Event()
        self.gate.set()
        self.requests: list[Request] = []
        self.waiting = 0  # requests not yet answered
        self._server = _Server(self)
        if identity:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.certificate, identity.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if identity else 'http'}://127.0.0.1:{self._server.server_port}"
        self._served = served(self._server)

    def __enter__(self) -> Self:
        self._served.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.set()
        self._served.__exit__(kind, error, trace)

    def spans(self, path: str = "/v1/traces") -> list[Received]:
        """Return all accepted spans, in order."""
        return [span for body in self._taken(path) for span in _spans(body)]

    def points(self) -> list[Points]:
        """Return the counters and gauges of each accepted export."""
        return [_points(body) for body in self._taken("/v1/metrics")]

    def _taken(self, path: str) -> Iterator[bytes]:
        return (
            request.body for request in list(self.requests) if (path, 200) == (request.path, request.status)
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the exporter reuses its connection
    server: "_Server"

    def do_POST(self) -> None:
        """Answer one export as currently configured."""
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        body = _DECODED[self.headers.get("Content-Encoding", "")](sent)
        collector = self.server.collector
        collector.waiting += 1
        collector.gate.wait()
        collector.waiting -= 1
        collector.requests.append(Request(self.path, dict(self.headers), body, collector.status))
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = collector.refuses
        self.send_response(collector.status)
        self.send_header("Content-Length", str(answer.ByteSize() + collector.tail))
        self.end_headers()
        self.wfile.write(answer.SerializeToString())
        for _ in range(0, collector.tail, _PIECE):
            self.wfile.write(bytes(_PIECE))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, collector: Collector) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.collector = collector

    def handle_error(self, *_: object) -> None:
        """Do not log: some tests kill exporters."""


def await_exporter(sidecar: int) -> None:
    """Wait until a process's exporter runs: its startup takes longer than its shutdown may."""
    until(lambda: any(map(_is_at_work, children(sidecar))))


def _is_at_work(exporter: int) -> bool:
    """Return whether it has started its threads: for stderr, for its queue, and the SDK's."""
    with contextlib.suppress(OSError):
        return len(list(Path(f"/proc/{exporter}/task").iterdir())) > 3
    return False


def attributes(sent: Iterable[KeyValue]) -> Attributes:
    """Return attributes by name; a duplicate or another type fails the test."""
    told: Attributes = {}
    for one in sent:
        assert one.key not in told
        kind = one.value.WhichOneof("value")
        assert kind in ("string_value", "int_value"), f"{one.key} is a {kind}"
        told[one.key] = getattr(one.value, kind)
    return told


def _spans(body: bytes) -> Iterator[Received]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                sender = (scope.scope.name, scope.scope.version)
                yield Received(span, attributes(resource.resource.attributes), sender)


def _points(body: bytes) -> Points:
    return {
        metric.name: {
            frozenset(attributes(point.attributes).items()): _point(point)
            for point in (metric.sum if metric.HasField("sum") else metric.gauge).data_points
        }
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if not metric.HasField("histogram")
    }


def _point(point: NumberDataPoint) -> Point:
    kind = point.WhichOneof("value")
    assert kind
    return Point(getattr(point, kind), point.start_time_unix_nano)
