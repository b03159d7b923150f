"""Which sessions become spans, and how many spans each has.

Pure, and independent of OpenTelemetry: the sidecar uses it to decide what to pass on, and both sides count
with it.
"""

from collections.abc import Callable

from observability.arrivals.parsing import Event

_BITS = 64  # of the trace ID, as many as the SDK's own TraceIdRatioBased looks at

Sampler = Callable[[Event], bool]


def spans_in(event: Event) -> int:
    """Return how many spans this event makes: 0 if its times or identities are not valid for a span."""
    if event.is_hello or event.duration is None or not event.session_span.strip("0"):
        return 0
    return 2 if event.spawned is not None and event.span and event.span.strip("0") else 1


def sampler(accepted: float) -> Sampler:
    """Return a sampler that keeps this share of the accepted sessions, and every other session.

    It decides by the trace ID, so every sampler decides the same for a whole session.
    """
    bound = round(accepted * 2**_BITS)

    def keeps(event: Event) -> bool:
        return event.ended != "accepted" or int.from_bytes(event.identity[8:]) < bound

    return keeps
