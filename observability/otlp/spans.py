"""An event as the spans of one trace: the session and, below it, its subprogram.

Owns names, attributes and status. The spans are built after the fact, with the event's own times and
identities, so that what the subprogram did under its TRACEPARENT hangs below the span that is sent here. What
may be told of a person is privacy.py's business, and getting spans out is exporting.py's, which alone loads
this module.
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
from observability.store.families import RESULTS

SESSION, SUBPROGRAM = "POP3 session", "subprogram"

Attributes = dict[str, str | int]

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_ANNOTATIONS = {b"T_GREETED": "greeted", b"T_CREDENTIALS": "credentials"}


class Spans:
    """Makes spans of one resource and scope, which tell no more than privacy allows."""

    def __init__(self, resource: Resource, scope: InstrumentationScope, privacy: Privacy) -> None:
        """Make none yet."""
        self._resource, self._scope, self._privacy = resource, scope, privacy

    def of(self, event: Event) -> list[ReadableSpan]:
        """Return as many spans as spans_in says of the event, its session's first."""
        number, failure = spans_in(event), _failure(event)
        context = _context(event, event.fields[b"TRACE"][16:])
        spans = [self._session(event, context, failure)] if number else []
        return [*spans, self._subprogram(event, context, failure)] if number > 1 else spans

    def _session(self, event: Event, context: SpanContext, failure: Attributes) -> ReadableSpan:
        fields = event.fields
        return ReadableSpan(
            SESSION,
            context,
            resource=self._resource,
            attributes={**_attributes(event), **self._of_people(event), **failure},
            events=[
                Annotation(name, timestamp=int(fields[when]))
                for when, name in _ANNOTATIONS.items()
                if when in fields
            ],
            kind=SpanKind.SERVER,
            status=_ERROR if failure else _UNSET,
            start_time=int(fields[b"T_START"]),
            end_time=int(fields[b"T_ENDED"]),
            instrumentation_scope=self._scope,
        )

    def _subprogram(self, event: Event, parent: SpanContext, failure: Attributes) -> ReadableSpan:
        fields = event.fields
        return ReadableSpan(
            SUBPROGRAM,
            _context(event, fields[b"SPAN"]),
            parent,
            resource=self._resource,
            attributes=failure,
            status=_ERROR if failure else _UNSET,
            start_time=int(fields[b"T_SPAWNED"]),
            end_time=int(fields.get(b"T_EXITED", fields[b"T_ENDED"])),
            instrumentation_scope=self._scope,
        )

    def _of_people(self, event: Event) -> Attributes:
        address = self._privacy.address(event)
        return {**self._privacy.user(event), **({"client.address": address} if address else {})}


def _context(event: Event, span: bytes) -> SpanContext:
    return SpanContext(int.from_bytes(event.identity), int(span, 16), is_remote=False, trace_flags=_SAMPLED)


def _failure(event: Event) -> Attributes:
    """Say what failed on our side; a refused login is its client's mistake, as a 4xx of HTTP is."""
    fields = event.fields
    if b"SIGNAL" in fields:
        return {"error.type": "crash"}
    if fields.get(b"STATUS") == b"111":
        return {"error.type": "111"}
    return {"error.type": fields[b"ERROR"].decode()} if b"ERROR" in fields else {}


def _attributes(event: Event) -> Attributes:
    told = ((name, tell(event)) for name, tell in _ATTRIBUTES.items())
    return {name: value for name, value in told if value is not None}


def _text(field: bytes) -> Callable[[Event], str | None]:
    return lambda event: event.fields.get(field, b"").decode(errors="backslashreplace") or None


def _number(field: bytes) -> Callable[[Event], int | None]:
    def number(event: Event) -> int | None:
        value = event.fields.get(field, b"")
        return int(value) if value.isdigit() and len(value) < 19 else None  # noqa: PLR2004  of 64 bits

    return number


def _network_type(event: Event) -> str | None:
    address = event.fields.get(b"CLIENT_IP")
    return ("ipv6" if b":" in address else "ipv4") if address else None


def _tls(part: int) -> Callable[[Event], str | None]:
    """Return what tells a part of, e.g., TLSv1.3: 0 for tls, 2 for 1.3."""
    return lambda event: (
        event.fields.get(b"TLS", b"").decode(errors="replace").lower().partition("v")[part] or None
    )


_ATTRIBUTES: dict[str, Callable[[Event], str | int | None]] = {
    "client.port": _number(b"CLIENT_PORT"),
    "server.address": _text(b"LOCAL_IP"),
    "server.port": _number(b"LOCAL_PORT"),
    "network.protocol.name": lambda _: "pop3",
    "network.transport": lambda _: "tcp",
    "network.type": _network_type,
    "tls.protocol.name": _tls(0),
    "tls.protocol.version": _tls(2),
    "tls.cipher": _text(b"CIPHER"),
    "process.pid": _number(b"PID"),
    "qmail_popup.auth.result": lambda event: RESULTS[event.record.result] if event.record else None,
    "qmail_popup.auth.method": lambda event: event.record.method.decode() if event.record else None,
    "qmail_popup.protocol": _text(b"PROTOCOL"),
    "qmail_popup.ended": _text(b"ENDED"),
}
