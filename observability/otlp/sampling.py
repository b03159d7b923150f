"""Which sessions are told as spans, and how many spans each of them has.

Pure, and without OpenTelemetry: the sidecar decides with it what it hands on, and both sides count with it.
"""

from collections.abc import Callable

from observability.arrivals.parsing import Event

_BITS = 64  # as many of the trace's identity as the SDK's own TraceIdRatioBased looks at

Sampler = Callable[[Event], bool]


def spans_in(event: Event) -> int:
    """Return how many spans tell of this event: none where its times or identities make no span."""
    if event.is_hello or event.duration is None or not event.session_span.strip("0"):
        return 0
    return 2 if event.spawned is not None and event.span and event.span.strip("0") else 1


def sampler(accepted: float) -> Sampler:
    """Return what keeps that part of the accepted sessions, and every other session.

    It goes by the trace's identity, so a session is kept or left out in whole, whoever decides.
    """
    bound = round(accepted * 2**_BITS)

    def keeps(event: Event) -> bool:
        return event.ended != "accepted" or int.from_bytes(event.identity[8:]) < bound

    return keeps
