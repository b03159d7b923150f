r"""The event: what one session has to tell, and how it is written.

This is the contract between the popup and the sidecar: an environment block, `NAME=value\0...END=1\0\0`, as
UCSPI-TLS and descriptor 3 use them. The names of the fields, their order, the form of each value and what
it is read as stand here and nowhere else. The popup builds events, so this module imports nothing and does
as little as it can; arrivals/parsing.py reads them, by the same table, and trusts nobody.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    Fact = bytes | int | None
    Facts = Mapping[bytes, Fact]

    class Settings(Protocol):
        """What a popup was told: of the mirror by its operator, of the connection by its server."""

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
        """What an event is made of; times are nanoseconds, 0 where not reached."""

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
            """The subprogram's, if one was to run."""

        @property
        def tls_variables(self) -> Mapping[bytes, bytes]:
            """What the server told of TLS."""


# One write of this size to a stream socket or to a file is not torn by other writers.
LIMIT = 4096

# In the spool each event has this before it, so that a torn one spoils no other.
SEPARATOR = b"\0\0"

FIRST, LAST = b"V=1", b"END=1"  # the first entry is the version of this contract; without the last it is torn

TRACE, SPAN = b"TRACE", b"SPAN"  # the session's identity, which is its trace's; the span of the subprogram
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
    "refused",  # by the listener, before a session began
)
ERRORS = ("fork", "pipe", "control")  # of our own, where it ended with error
REASONS = ("session", "credentials", "temporary", "misuse", "crashed")  # why a subprogram refused a login
TLS_REQUIRED = "tls_required"  # why a login was refused before any, which RECORD tells by itself
PROTOCOLS = ("POP3", "POP3S")


def text(value: bytes) -> "str | None":
    """Read a value that others chose, and that may hold any byte."""
    return value.decode(errors="backslashreplace") or None


def port(value: bytes) -> "int | None":
    """Read a port as the server named it; None where it is no number."""
    return int(value) if value.isdigit() and len(value) <= 5 else None  # noqa: PLR2004  digits of 65535


word = bytes.decode

# The form of a value is a regular expression, or None where it may be anything.
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
"""Each field in the order in which it travels: the form of its value, and what that is read as."""

# What an event that would be too long leaves out, in this order, and never the record. The server names
# the last ones, so nothing but a server that makes no sense gets that far.
EXPENDABLE = (CLIENT_HOST, CIPHER, TLS, CLIENT_IP, CLIENT_PORT, LOCAL_IP, LOCAL_PORT)


def build(facts: "Facts") -> bytes:
    """Return the block that tells facts: by name, values without NUL; what is None or empty is left out."""
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
    """Return the identity of the session's own span, which follows from that of its trace."""
    return trace[16:]
