"""Which variables are whose: the operator's, the rules', and those that the listener sets itself.

Settings are made of them: one value for all sessions, and others where a rule says so.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from qmail_popup.settings import OWN_PREFIX, TLS_DESCRIPTORS, Settings, seconds

_LOGIN_TIMEOUT, _LOGIN_SECONDS = OWN_PREFIX + b"LOGIN_TIMEOUT", b"180"

# What the listener sets by itself, and what a service manager means for it alone.
_OWN = (b"PROTO", b"LISTEN_PID", b"LISTEN_FDS", b"LISTEN_FDNAMES", b"NOTIFY_SOCKET")
_OWN_PREFIXES = (b"TCP", b"SSL_PROTOCOL", b"SSL_CIPHER", b"SSLREMOTE", b"SSLLOCAL")
_TRACE_CONTEXT = (b"TRACEPARENT", b"TRACESTATE", b"BAGGAGE")

# What no rule sets.
_MIRROR = (b"SIDECAR", b"SPOOL", b"PUSHGATEWAY", b"STATE", b"INSTANCE", b"PUSH_CREDENTIALS")
_FIXED = {*_OWN, *_TRACE_CONTEXT, *(OWN_PREFIX + name for name in _MIRROR)}
_FIXED_PREFIXES = (b"TCP", b"SSL")

# What of a rule changes a session before its login.
_BEFORE_LOGIN = {b"POP3AUTH", b"UCSPITLS"} | {
    OWN_PREFIX + name for name in (b"TIMEOUT", b"LOGIN_TIMEOUT", b"RESP_CODES")
}
_MAX_SETTINGS = 1024  # that are kept: rules have few different ones

Variables = Mapping[bytes, bytes]


def inherited(environ: Variables) -> dict[bytes, bytes]:
    """Return the environment without what a session, a trace or a service manager would be mistaken in."""
    own = (*_OWN, *_TRACE_CONTEXT)
    return {
        name: value
        for name, value in environ.items()
        if name not in own and not name.startswith(_OWN_PREFIXES)
    }


def is_fixed(name: bytes) -> bool:
    """Return whether it is a variable that no rule sets."""
    return name in _FIXED or name.startswith(_FIXED_PREFIXES)


def before_login(variables: Variables) -> Variables:
    """Return what of a rule matters before a login."""
    return {name: value for name, value in variables.items() if name in _BEFORE_LOGIN}


def for_subprogram(variables: Variables) -> Variables:
    """Return what of a rule a subprogram gets."""
    return {
        name: value
        for name, value in variables.items()
        if name and not name.startswith(OWN_PREFIX) and name not in TLS_DESCRIPTORS
    }


class SettingsOf:
    """Settings by what a rule says."""

    def __init__(self, arguments: Sequence[bytes], environ: Variables) -> None:
        """Read `arguments` (hostname, subprogram, its arguments) and what was inherited."""
        self._arguments, self._environ = arguments, environ
        self._of = lru_cache(_MAX_SETTINGS)(self._read)
        self.default = self._of(())

    def __call__(self, variables: Variables) -> Settings:
        """Return a session's settings."""
        return self._of(tuple(variables.items()))

    def _read(self, variables: Sequence[tuple[bytes, bytes]]) -> Settings:
        told = {**self._environ, **dict(variables)}
        if not seconds(told.get(_LOGIN_TIMEOUT, b"")):
            told[_LOGIN_TIMEOUT] = _LOGIN_SECONDS
        return Settings(self._arguments, told)
