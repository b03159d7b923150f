"""Which sessions are told as spans, and how many spans each of them has.

Pure, and without OpenTelemetry: the sidecar decides with it what it hands on, and both sides count with it.
"""

from collections.abc import Callable

from observability.arrivals.parsing import Event

_BITS = 64  # as many of the trace's identity as the SDK's own TraceIdRatioBased looks at
_NEEDED = {b"ENDED", b"T_START", b"T_ENDED"}
_SUBPROGRAM = {b"SPAN", b"T_SPAWNED"}

Sampler = Callable[[Event], bool]


def spans_in(event: Event) -> int:
    """Return how many spans tell of this event: none where its times or identities make no span."""
    fields = event.fields
    if not fields.keys() >= _NEEDED or not any(event.identity[8:]):
        return 0
    return 2 if fields.keys() >= _SUBPROGRAM and fields[b"SPAN"].strip(b"0") else 1


def sampler(accepted: float) -> Sampler:
    """Return what keeps that part of the accepted sessions, and every other session.

    It goes by the trace's identity, so a session is kept or left out in whole, whoever decides.
    """
    bound = round(accepted * 2**_BITS)

    def keeps(event: Event) -> bool:
        return event.fields.get(b"ENDED") != b"accepted" or int.from_bytes(event.identity[8:]) < bound

    return keeps
