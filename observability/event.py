r"""The event: a report about one session, and its format.

This is the contract between popup and sidecar: an environment block, `NAME=value\0...END=1\0\0`, as in
UCSPI-TLS and on descriptor 3. It is the only place that knows the names of the fields, their order, the
format of each value and its type. The popup builds events, so this module imports nothing and does as little
as possible; arrivals/parsing.py reads them by the same table, and trusts no sender.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    Fact = bytes | int | None
    Facts = Mapping[bytes, Fact]

    class Settings(Protocol):
        """The popup's settings: of the mirror from the operator, of the connection from the server."""

        sidecar: bytes
        spool: bytes
        tls_descriptors: list[int]
        client_ip: bytes
        client_host: bytes
        client_port: bytes
        local_ip: bytes
        local_port: bytes

    class Outcome(Protocol):
        """How a subprogram ended."""

        spawned: int
        exited: int
        status: int | None
        signal: int | None

    class Session(Protocol):
        """The session that an event reports; times are nanoseconds, 0 if not reached."""

        pid: int
        started: int
        greeted: int
        credentials: int
        finished: int
        record: bytes
        ended: str
        failure: str
        reason: str

        @property
        def protocol_name(self) -> bytes:
            """POP3 or POP3S."""

        @property
        def outcome(self) -> Outcome | None:
            """The subprogram's outcome, if one was started or should have been."""

        @property
        def tls_variables(self) -> Mapping[bytes, bytes]:
            """The server's variables about TLS."""


# Other writers to a stream socket or file cannot interleave with a single write of this size.
LIMIT = 4096

# Precedes each event in the spool, so that a torn event does not corrupt the next.
SEPARATOR = b"\0\0"

FIRST, LAST = b"V=1", b"END=1"  # first: version of this contract; an event without the last is torn

TRACE, SPAN = b"TRACE", b"SPAN"  # trace ID, also the session's identity; span ID of the subprogram
PROTOCOL, PID = b"PROTOCOL", b"PID"
CLIENT_IP, CLIENT_HOST, CLIENT_PORT = b"CLIENT_IP", b"CLIENT_HOST", b"CLIENT_PORT"
LOCAL_IP, LOCAL_PORT = b"LOCAL_IP", b"LOCAL_PORT"
T_START, T_GREETED, T_CREDENTIALS = b"T_START", b"T_GREETED", b"T_CREDENTIALS"
T_SPAWNED, T_EXITED, T_ENDED = b"T_SPAWNED", b"T_EXITED", b"T_ENDED"
RECORD, ENDED, ERROR, REASON = b"RECORD", b"ENDED", b"ERROR", b"REASON"
STATUS, SIGNAL = b"STATUS", b"SIGNAL"
TLS, CIPHER = b"TLS", b"CIPHER"

ENDS = (
    "accepted",
    "rejected",
    "crashed",
    "tls_required",
    "quit",
    "disconnected",
    "timeout",
    "tls_failed",
    "error",
    "refused",  # by the listener, before the session began
)
ERRORS = ("fork", "pipe", "control")  # our own failures; ENDED is error
REASONS = ("session", "credentials", "temporary", "misuse", "crashed")  # why a subprogram refused a login
TLS_REQUIRED = "tls_required"  # the reason of a refusal before any login, which RECORD implies
PROTOCOLS = ("POP3", "POP3S")


def text(value: bytes) -> "str | None":
    """Decode a value from outside, which may contain any byte."""
    return value.decode(errors="backslashreplace") or None


def port(value: bytes) -> "int | None":
    """Parse a port from the server's variable; None if it is not a number."""
    return int(value) if value.isdigit() and len(value) <= 5 else None  # noqa: PLR2004  digits of 65535


word = bytes.decode

# The format of a value is a regular expression, or None for any bytes.
_WORDS = "|".join
_NANOSECONDS = r"0|[1-9][0-9]{0,18}"  # nineteen digits reach the year 2286

FIELDS: "Mapping[bytes, tuple[str | None, Callable[[bytes], object]]]" = {
    TRACE: (r"[0-9a-f]{32}", word),
    SPAN: (r"[0-9a-f]{16}", word),
    PROTOCOL: (_WORDS(PROTOCOLS), word),
    PID: (r"0|[1-9][0-9]{0,18}", int),
    CLIENT_IP: (None, text),
    CLIENT_HOST: (None, text),
    CLIENT_PORT: (None, port),
    LOCAL_IP: (None, text),
    LOCAL_PORT: (None, port),
    T_START: (_NANOSECONDS, int),
    T_GREETED: (_NANOSECONDS, int),
    T_CREDENTIALS: (_NANOSECONDS, int),
    T_SPAWNED: (_NANOSECONDS, int),
    T_EXITED: (_NANOSECONDS, int),
    T_ENDED: (_NANOSECONDS, int),
    RECORD: (None, bytes),
    ENDED: (_WORDS(ENDS), word),
    ERROR: (_WORDS(ERRORS), word),
    REASON: (_WORDS(REASONS), word),
    STATUS: (r"[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5]", int),
    SIGNAL: (r"[1-9]|[1-9][0-9]|1[01][0-9]|12[0-7]", int),
    TLS: (None, text),
    CIPHER: (None, text),
}
"""The fields in the order in which they are sent: format of the value, and how to convert it."""

# Omitted from an event that is too long, in this order; the record never is. The server sets the last ones,
# so only a broken server makes it get that far.
EXPENDABLE = (CLIENT_HOST, CIPHER, TLS, CLIENT_IP, CLIENT_PORT, LOCAL_IP, LOCAL_PORT)


def build(facts: "Facts") -> bytes:
    """Return the block of these facts: by name, values without NUL. None and empty values are omitted."""
    block = _block(facts)
    for number in range(len(EXPENDABLE)):
        if len(block) <= LIMIT:
            break
        left_out = EXPENDABLE[: number + 1]
        block = _block({name: fact for name, fact in facts.items() if name not in left_out})
    return block


def _block(facts: "Facts") -> bytes:
    entries = [
        name + b"=" + fact if isinstance(fact, bytes) else b"%b=%d" % (name, fact)
        for name in FIELDS
        if (fact := facts.get(name)) not in (None, b"")
    ]
    return b"\0".join([FIRST, *entries, LAST, b"\0"])


def session_span(trace: str) -> str:
    """Return the ID of the session's own span, which is derived from the trace ID."""
    return trace[16:]
