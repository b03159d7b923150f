"""What is known from a hello, or from a session that ends at once, without parsing it. Pure."""

from observability import event
from observability.arrivals.patterns import HELLO

_TRACE_DIGITS = 32
_BEGIN = b"%b\0%b=" % (event.FIRST, event.TRACE)
_TRACE_ENDS = len(_BEGIN) + _TRACE_DIGITS
_NEXT, _LAST = b"\0%b=" % event.PROTOCOL, b"\0%b" % event.LAST
_OF_AN_END = b"\0E"  # END, ENDED, ERROR: of an event, or misplaced


def hello_trace(block: bytes) -> str:
    """Return the trace ID of a hello exactly as popups build it; empty for any other block."""
    found = HELLO(block) if len(block) < event.LIMIT else None
    return found[1].decode() if found else ""


def whole_session(data: bytes) -> bytes:
    """Return the event's block if `data` is a hello and an event that repeats its entries; empty otherwise.

    That is what a session sends that ends before it was accepted. Such a hello is valid if its event is.
    """
    hello, _, rest = data.partition(event.SEPARATOR)
    trace, entries = hello[:_TRACE_ENDS], hello[_TRACE_ENDS : -len(event.LAST)]
    is_whole = (
        trace.startswith(_BEGIN)
        and rest.startswith(trace)
        and rest.endswith(event.SEPARATOR)
        and entries.startswith(_NEXT)
        and entries in rest
        and _OF_AN_END not in entries
        and hello.endswith(_LAST)
    )
    return rest[: -len(event.SEPARATOR)] if is_whole else b""
