"""A receiver of spans in a process of its own: says where it is, and when it is asked how many came."""

import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.collector import Collector


def main() -> None:
    """Serve until there is nothing more to read."""
    came = 0
    with Collector() as collector:
        print(collector.url, flush=True)
        for _ in sys.stdin:
            while collector.requests:
                came += _spans(collector.requests.pop(0).body)
            print(came, flush=True)


def _spans(body: bytes) -> int:
    sent = ExportTraceServiceRequest.FromString(body)
    return sum(len(scope.spans) for resource in sent.resource_spans for scope in resource.scope_spans)


if __name__ == "__main__":
    main()
