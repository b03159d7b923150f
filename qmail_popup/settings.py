"""The environment and the arguments, read once into one immutable value.

Owns the variables' names and meanings. Knows no descriptors: `tls` checks whether a number is an open one.
All values stay bytes, as the server passed them.
"""

TYPE_CHECKING = False  # importing typing would cost more than the rest of a session
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeGuard

IDLE_TIMEOUT = 1200  # seconds; qmail-popup(8): "has a 20-minute idle timeout"
MAX_TIMEOUT = 2_000_000  # poll(2) takes milliseconds in an int: 24 days
REFUSAL_SECONDS = 10  # no checker takes longer to refuse a password
OWN_PREFIX = b"QMAIL_POPUP_"
TLS_DESCRIPTORS = (b"SSLCTLFD", b"SSLREADFD", b"SSLWRITEFD")
POP3S_PORT = b"995"
UNKNOWN = b"unknown"
SPOOL = b"/var/spool/qmail-popup"

EXITS = OWN_PREFIX + b"EXITS"
UCSPITLS = b"UCSPITLS"
TIMES = (OWN_PREFIX + b"TIMEOUT", OWN_PREFIX + b"LOGIN_TIMEOUT", OWN_PREFIX + b"REFUSAL_SECONDS")

_SIDECAR = OWN_PREFIX + b"SIDECAR"
_PUSHGATEWAY = OWN_PREFIX + b"PUSHGATEWAY"
_PUSHER_OPTIONS = {
    b"--spool": OWN_PREFIX + b"SPOOL",
    b"--state": OWN_PREFIX + b"STATE",
    b"--instance": OWN_PREFIX + b"INSTANCE",
    b"--push-credentials": OWN_PREFIX + b"PUSH_CREDENTIALS",
}

_MAX_DIGITS = 9  # a longer number may not fit into a C int

# tcpserver's names first: sslserver sets its own only if it was not told to set those (with -e).
_SERVER_PREFIXES = (b"TCP6", b"TCP", b"SSL")


class Settings:
    """One session's configuration, from argv, the server and the operator.

    hostname, client_ip, client_host, client_port, local_ip, local_port: bytes, not yet sanitized for a log
    sidecar, spool: paths for the mirror, both empty if it is off
    pusher: options of the pusher that popups keep running, empty if there is none
    subprogram: argv of the subprogram, at least one item
    idle_timeout, login_timeout, refusal_seconds: seconds; a login_timeout of 0 means none
    exits: QMAIL_POPUP_EXITS as the operator wrote it, parsed only after a refusal
    apop, resp_codes, keep_stderr: switches
    tls_wanted, tls_required: from UCSPITLS; tls_on: TLS from the first byte
    tls_descriptors: SSLCTLFD, SSLREADFD and SSLWRITEFD in this order, without any that is not a number
    """

    __slots__ = (
        "apop",
        "client_host",
        "client_ip",
        "client_port",
        "exits",
        "hostname",
        "idle_timeout",
        "keep_stderr",
        "local_ip",
        "local_port",
        "login_timeout",
        "pusher",
        "refusal_seconds",
        "resp_codes",
        "sidecar",
        "spool",
        "subprogram",
        "tls_descriptors",
        "tls_on",
        "tls_required",
        "tls_wanted",
    )

    def __init__(self, arguments: "Sequence[bytes]", environ: "Mapping[bytes, bytes]") -> None:
        """Read `arguments` (hostname, subprogram, its arguments) and `environ`."""
        ucspi_tls = environ.get(UCSPITLS, b"-")
        self.sidecar, self.spool = _mirror(environ)
        self.pusher = _pusher(environ)
        self.hostname, *self.subprogram = arguments
        idle, self.login_timeout, refusal = (seconds(environ.get(name, b"")) for name in TIMES)
        self.idle_timeout, self.refusal_seconds = idle or IDLE_TIMEOUT, refusal or REFUSAL_SECONDS
        self.exits = environ.get(EXITS, b"")
        self.apop = environ.get(b"POP3AUTH", b"").lower().startswith((b"apop", b"+apop"))
        self.resp_codes = environ.get(OWN_PREFIX + b"RESP_CODES") == b"1"
        self.keep_stderr = environ.get(OWN_PREFIX + b"STDERR") == b"keep"
        self.client_ip = _received(environ, b"REMOTEIP").removeprefix(b"::ffff:") or UNKNOWN
        self.client_host = _received(environ, b"REMOTEHOST") or UNKNOWN
        self.client_port = _received(environ, b"REMOTEPORT")
        self.local_ip = _received(environ, b"LOCALIP").removeprefix(b"::ffff:")
        self.local_port = _received(environ, b"LOCALPORT")
        self.tls_on = self.local_port == POP3S_PORT or environ.get(b"SSL_PROTOCOL", b"") != b""
        self.tls_wanted, self.tls_required = ucspi_tls != b"-", ucspi_tls == b"!"
        named = map(environ.get, TLS_DESCRIPTORS)
        self.tls_descriptors = [int(text[-_MAX_DIGITS:]) for text in named if _is_descriptor(text)]


def _received(environ: "Mapping[bytes, bytes]", what: bytes) -> bytes:
    """Return the first of the server's variables that is set, even if empty; b"" if none is."""
    for prefix in _SERVER_PREFIXES:
        value = environ.get(prefix + what)
        if value is not None:
            return value
    return b""


def _mirror(environ: "Mapping[bytes, bytes]") -> "tuple[bytes, bytes]":
    """Return the sidecar's socket and the spool; whenever the mirror is on, there is a spool."""
    sidecar = environ.get(_SIDECAR, b"")
    usual = SPOOL if sidecar or environ.get(_PUSHGATEWAY) else b""
    return sidecar, environ.get(OWN_PREFIX + b"SPOOL", b"") or usual


def _pusher(environ: "Mapping[bytes, bytes]") -> "dict[bytes, bytes]":
    """Return a pusher's options; none without a gateway, or if its URL holds a user, which `ps` would show.

    Any `@` counts as a user: in a mistyped URL the password may be anywhere.
    """
    url = environ.get(_PUSHGATEWAY, b"")
    if not url or b"@" in url or environ.get(_SIDECAR):  # a sidecar pushes by itself
        return {}
    given = {option: environ.get(name, b"") for option, name in _PUSHER_OPTIONS.items()}
    return {b"--push": url, **{option: value for option, value in given.items() if value}}


def seconds(text: bytes) -> int:
    """Read a timeout, a whole number above 0; 0 for anything else."""
    digits = text.lstrip(b"0")
    if not digits.isdigit():
        return 0
    # Check the length first: int() rejects thousands of digits.
    return MAX_TIMEOUT if len(digits) > _MAX_DIGITS else min(int(digits), MAX_TIMEOUT)


def _is_descriptor(text: bytes | None) -> "TypeGuard[bytes]":
    """Whether `text` is a decimal number that fits into an int, as a descriptor must."""
    return text is not None and text.isdigit() and len(text.lstrip(b"0")) <= _MAX_DIGITS
