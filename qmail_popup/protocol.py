"""The AUTHORIZATION state of POP3 (RFC 1939): a line in, a reply or an action out.

Pure: no descriptor, no process, no clock. A table maps verbs to handlers with one signature; a catch-all
answers everything else. A handler returns a reply and an action. The reply is complete, CRLF included, or
empty if it will come from elsewhere.

A line may hold a password, so the caller wipes it. Only the user name and the first four bytes are ever
copied; the argument of a handler and the secret of a login are views of the line.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Move = tuple[bytes, str]
    Handler = Callable[["Authorization", memoryview], Move]

MAX_LINE = 4096  # bytes without the LF; RFC 2449 section 4 requires at least 255
_VERB = 4  # bytes: all verbs have this length

# Actions: what the session does after sending the reply.
GO_ON = "go on"
QUIT = "quit"
LOGIN = "login"
START_TLS = "start tls"
REFUSE_CLEAR = "refuse clear"  # TLS is required but not active

# The shortest valid lines, LF included: "PASS x", "STLS", "APOP a b" and "USER x".
_PASS, _STLS, _APOP, _USER = 7, 5, 9, 7
_NUL, _CR, _SPACE = 0, 13, 32


class Credentials:
    """What a client logs in with. Has no repr, so that no log can show it.

    method: b"User" or b"Apop"; name: bytes; secret: a view of the line it arrived in
    """

    __slots__ = ("method", "name", "secret")

    def __init__(self, method: bytes, name: bytes, secret: memoryview) -> None:
        """Hold the credentials until the subprogram gets them."""
        self.method, self.name, self.secret = method, name, secret


_NO_CREDENTIALS = Credentials(b"", b"", memoryview(b""))


def timestamp(number: int, started: int, hostname: bytes) -> bytes:
    """Return the greeting's timestamp (RFC 1939 section 7), which is never given twice.

    number: of the process, or of the session where one process has many. started: nanoseconds since 1970.
    """
    return b"<%d.%d@%s>" % (number, started // 1_000_000_000, hostname)


class Authorization:
    """One connection before its login.

    timestamp: of RFC 1939 section 7, angle brackets included; apop, resp_codes: switches
    stls: the server can start TLS; tls_required: refuse logins without TLS; tls: TLS is active
    """

    __slots__ = ("apop", "credentials", "resp_codes", "stls", "timestamp", "tls", "tls_required", "user")

    def __init__(  # noqa: PLR0913  six independent facts
        self, timestamp: bytes, *, apop: bool, stls: bool, tls_required: bool, tls: bool, resp_codes: bool
    ) -> None:
        """Start without a user name."""
        self.timestamp = timestamp
        self.apop, self.resp_codes = apop, resp_codes
        self.stls, self.tls_required, self.tls = stls, tls_required, tls
        self.user = b""
        self.credentials = _NO_CREDENTIALS  # until LOGIN

    def greeting(self) -> bytes:
        """Return the first reply."""
        return b"+OK %s\r\n" % self.timestamp if self.apop else b"+OK\r\n"

    def command(self, line: bytearray) -> "Move":
        """Answer one line, without its LF. If it exceeds MAX_LINE bytes, the rest may be missing."""
        if len(line) > MAX_LINE:
            return b"-ERR line too long\r\n", GO_ON
        if _NUL in line:
            return _SYNTAX_ERROR
        end = len(line) - 1 if line and line[-1] == _CR else len(line)
        space = line.find(b" ", 0, end)
        verb_end = end if space < 0 else space
        start = verb_end
        while start < end and line[start] == _SPACE:
            start += 1
        # A longer word may be a mistyped password: do not copy it.
        handler = _VERBS.get(bytes(line[:_VERB]).upper(), _unknown) if verb_end == _VERB else _unknown
        return handler(self, memoryview(line)[start:end])

    def tls_started(self) -> None:
        """Forget what the client sent in clear (RFC 2595 section 4)."""
        self.tls = True
        self.user = b""

    def read_limit(self, line: "bytearray | memoryview") -> int:
        """Return how many bytes may be read next, 1 or more, given the part of a line read so far.

        Bytes after the line that hands descriptor 0 over belong to the subprogram or to the TLS handshake.
        So never read more than the shortest input that completes such a line: either this line with one of
        the verbs it may still become, or the end of this line followed by a new one.
        """
        ways = self._ways()
        start = min(size + then for _verb, size, then in ways)
        if len(line) > MAX_LINE:
            return 1 + start
        begun = bytes(line[:_VERB]).upper()
        to_go = [max(1, size - len(line)) + then for verb, size, then in ways if verb.startswith(begun)]
        return min([1 + start, *to_go])

    def _ways(self) -> "list[tuple[bytes, int, int]]":
        """Return each verb that can lead to a handover: verb, its shortest line, and what must follow it."""
        stls = self.stls and not self.tls
        ways = [(b"USER", _USER, _STLS if stls else _PASS)]
        ways += [(b"PASS", _PASS, 0)] if self.user else []
        ways += [(b"STLS", _STLS, 0)] if stls else []
        ways += [(b"APOP", _APOP, 0)] if self.apop else []
        return ways


def refusal(status: int | None, code: bytes) -> bytes:
    """Return the reply to a login that the subprogram refused. status: None if a signal ended it.

    code: an RFC 3206 code that tells the client whether to ask for another password, or empty
    """
    return error(b"aack, child crashed" if status is None else b"authorization failed", code)


def unable(what: str, *, resp_codes: bool) -> bytes:
    """Return the reply if the subprogram could not be started: `what` is "pipe" or "fork"."""
    text = {"pipe": b"unable to open pipe", "fork": b"unable to fork"}[what]
    return error(text, b"[SYS/TEMP] " if resp_codes else b"")


def error(text: bytes, code: bytes = b"") -> bytes:
    """Return a complete error reply."""
    return b"-ERR %s%s\r\n" % (code, text)


def _noop(_state: Authorization, _argument: memoryview) -> "Move":
    return b"+OK \r\n", GO_ON


def _quit(_state: Authorization, _argument: memoryview) -> "Move":
    return b"+OK \r\n", QUIT


def _user(state: Authorization, argument: memoryview) -> "Move":
    if state.tls_required and not state.tls:
        return _TLS_REQUIRED
    if not argument:
        return _SYNTAX_ERROR
    state.user = bytes(argument)
    return b"+OK \r\n", GO_ON


def _pass(state: Authorization, argument: memoryview) -> "Move":
    if not state.user:
        return b"-ERR USER first\r\n", GO_ON
    if not argument:
        return _SYNTAX_ERROR
    state.credentials = Credentials(b"User", state.user, argument)
    return b"", LOGIN


def _apop(state: Authorization, argument: memoryview) -> "Move":
    if state.tls_required and not state.tls:
        return _TLS_REQUIRED
    if not state.apop:
        return error(b"APOP not available"), GO_ON
    space = next((at for at, byte in enumerate(argument) if byte == _SPACE), -1)
    if space < 0 or space + 1 == len(argument):
        return _SYNTAX_ERROR
    state.credentials = Credentials(b"Apop", bytes(argument[:space]), argument[space + 1 :])
    return b"", LOGIN


def _capa(state: Authorization, _argument: memoryview) -> "Move":
    clear = state.tls_required and not state.tls
    holds = (
        (b"TOP", True),
        (b"USER", not clear),
        (b"UIDL", True),
        (b"APOP", state.apop and not clear),
        (b"STLS", state.stls and not state.tls),
        (b"RESP-CODES", state.resp_codes),
        (b"AUTH-RESP-CODE", state.resp_codes),
    )
    listed = [name for name, held in holds if held]
    return b"\r\n".join([b"+OK capability list follows", *listed, b".", b""]), GO_ON


def _stls(state: Authorization, _argument: memoryview) -> "Move":
    if not state.stls or state.tls:
        return b"-ERR STLS not available\r\n", GO_ON
    return b"+OK starting TLS negotiation\r\n", START_TLS


def _unknown(_state: Authorization, _argument: memoryview) -> "Move":
    return b"-ERR authorization first\r\n", GO_ON


_SYNTAX_ERROR: "Move" = (b"-ERR syntax error\r\n", GO_ON)
_TLS_REQUIRED: "Move" = (b"-ERR TLS required but not negotiated\r\n", REFUSE_CLEAR)

_VERBS: "dict[bytes, Handler]" = {
    b"NOOP": _noop,
    b"QUIT": _quit,
    b"USER": _user,
    b"PASS": _pass,
    b"APOP": _apop,
    b"CAPA": _capa,
    b"STLS": _stls,
}
