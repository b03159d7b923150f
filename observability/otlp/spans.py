"""An event as the spans of one trace: the session and, below it, its subprogram.

Owns names, attributes and status. Spans are built afterwards, with the event's own times and identities, so
that spans which the subprogram made under its TRACEPARENT become children of the one sent here. privacy.py
decides what may be shown of a person; process.py, which alone loads this module, exports the spans.
"""

from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as Annotation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from observability.arrivals.parsing import Event
from observability.otlp.sampling import spans_in
from observability.privacy import Privacy

SESSION, SUBPROGRAM = "POP3 session", "subprogram"

Attributes = dict[str, str | int]

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FAILURES = ("temporary", "misuse", "crashed")  # of the reasons for a refusal
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class Spans:
    """Makes spans for one resource and scope, showing only what privacy allows."""

    def __init__(self, resource: Resource, scope: InstrumentationScope, privacy: Privacy) -> None:
        """Store what all spans share."""
        self._resource, self._scope, self._privacy = resource, scope, privacy

    def of(self, event: Event) -> list[ReadableSpan]:
        """Return as many spans as spans_in counts for the event, the session's first."""
        number, failure = spans_in(event), _failure(event)
        context = _context(event, event.session_span)
        spans = [self._session(event, context, failure)] if number else []
        return [*spans, self._subprogram(event, context, failure)] if number > 1 else spans

    def _session(self, event: Event, context: SpanContext, failure: Attributes) -> ReadableSpan:
        return ReadableSpan(
            SESSION,
            context,
            resource=self._resource,
            attributes={**_attributes(event), **self._of_people(event), **failure},
            events=[
                Annotation(name, timestamp=reached)
                for name, reached in (("greeted", event.greeted), ("credentials", event.credentials))
                if reached is not None
            ],
            kind=SpanKind.SERVER,
            status=_ERROR if failure else _UNSET,
            start_time=event.start,
            end_time=event.ended_at,
            instrumentation_scope=self._scope,
        )

    def _subprogram(self, event: Event, parent: SpanContext, failure: Attributes) -> ReadableSpan:
        return ReadableSpan(
            SUBPROGRAM,
            _context(event, event.span or ""),
            parent,
            resource=self._resource,
            attributes=failure,
            status=_ERROR if failure else _UNSET,
            start_time=event.spawned,
            end_time=event.ended_at if event.exited is None else event.exited,
            instrumentation_scope=self._scope,
        )

    def _of_people(self, event: Event) -> Attributes:
        address = self._privacy.address(event)
        return {**self._privacy.user(event), **({"client.address": address} if address else {})}


def _context(event: Event, span: str) -> SpanContext:
    return SpanContext(int(event.trace, 16), int(span, 16), is_remote=False, trace_flags=_SAMPLED)


def _failure(event: Event) -> Attributes:
    """Return a failure on our side; a refused login is the client's error, like an HTTP 4xx."""
    failure = event.reason if event.reason in _FAILURES else event.error
    return {"error.type": failure} if failure else {}


def _attributes(event: Event) -> Attributes:
    found = ((name, value_of(event)) for name, value_of in _ATTRIBUTES.items())
    return {name: value for name, value in found if value is not None}


def _network_type(event: Event) -> str | None:
    address = event.client_ip
    return ("ipv6" if ":" in address else "ipv4") if address else None


def _tls_name(event: Event) -> str | None:
    return (event.tls or "").lower().partition("v")[0] or None


_ATTRIBUTES: dict[str, Callable[[Event], str | int | None]] = {
    "client.port": lambda event: event.client_port,
    "server.address": lambda event: event.local_ip,
    "server.port": lambda event: event.local_port,
    "network.protocol.name": lambda _: "pop3",
    "network.transport": lambda _: "tcp",
    "network.type": _network_type,
    "tls.protocol.name": _tls_name,
    "tls.protocol.version": lambda event: event.tls_version,
    "tls.cipher": lambda event: event.cipher,
    "process.pid": lambda event: event.pid,
    "qmail_popup.auth.result": lambda event: event.result,
    "qmail_popup.auth.method": lambda event: event.method,
    "qmail_popup.protocol": lambda event: event.protocol,
    "qmail_popup.ended": lambda event: event.ended,
    "qmail_popup.auth.reason": lambda event: event.reason,
}
