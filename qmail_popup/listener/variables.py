"""Environment variables: which come from the operator, from rules, or from the listener itself.

Settings are built from them: one value for all sessions, and another for each set of variables in a rule.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from qmail_popup.settings import OWN_PREFIX, TLS_DESCRIPTORS, Settings, seconds

_LOGIN_TIMEOUT, _LOGIN_SECONDS = OWN_PREFIX + b"LOGIN_TIMEOUT", b"180"

# Set by the listener, or meant only for the listener by a service manager.
_OWN = (b"PROTO", b"LISTEN_PID", b"LISTEN_FDS", b"LISTEN_FDNAMES", b"NOTIFY_SOCKET")
_OWN_PREFIXES = (b"TCP", b"SSL_PROTOCOL", b"SSL_CIPHER", b"SSLREMOTE", b"SSLLOCAL")
_TRACE_CONTEXT = (b"TRACEPARENT", b"TRACESTATE", b"BAGGAGE")

# Not settable by rules.
_MIRROR = (b"SIDECAR", b"SPOOL", b"PUSHGATEWAY", b"STATE", b"INSTANCE", b"PUSH_CREDENTIALS")
_FIXED = {*_OWN, *_TRACE_CONTEXT, *(OWN_PREFIX + name for name in _MIRROR)}
_FIXED_PREFIXES = (b"TCP", b"SSL")

# Variables of a rule that take effect before the login.
_BEFORE_LOGIN = {b"POP3AUTH", b"UCSPITLS"} | {
    OWN_PREFIX + name for name in (b"TIMEOUT", b"LOGIN_TIMEOUT", b"RESP_CODES")
}
_MAX_SETTINGS = 1024  # cached: rules contain few distinct sets

Variables = Mapping[bytes, bytes]


def inherited(environ: Variables) -> dict[bytes, bytes]:
    """Return the environment without variables that the listener sets or that are meant for it alone."""
    own = (*_OWN, *_TRACE_CONTEXT)
    return {
        name: value
        for name, value in environ.items()
        if name not in own and not name.startswith(_OWN_PREFIXES)
    }


def is_fixed(name: bytes) -> bool:
    """Return whether rules may not set this variable."""
    return name in _FIXED or name.startswith(_FIXED_PREFIXES)


def before_login(variables: Variables) -> Variables:
    """Return the variables of a rule that take effect before the login."""
    return {name: value for name, value in variables.items() if name in _BEFORE_LOGIN}


def for_subprogram(variables: Variables) -> dict[bytes, bytes]:
    """Return the variables of a rule that are passed to the subprogram."""
    return {
        name: value
        for name, value in variables.items()
        if name and not name.startswith(OWN_PREFIX) and name not in TLS_DESCRIPTORS
    }


class SettingsOf:
    """Settings for each set of variables that a rule adds."""

    def __init__(self, arguments: Sequence[bytes], environ: Variables) -> None:
        """Parse `arguments` (hostname, subprogram, its arguments) and the inherited environment."""
        self._arguments, self._environ = arguments, environ
        self._of = lru_cache(_MAX_SETTINGS)(self._read)
        self.default = self._of(())

    def __call__(self, variables: Variables) -> Settings:
        """Return the settings of a session whose rule sets `variables`."""
        return self._of(tuple(variables.items()))

    def _read(self, variables: Sequence[tuple[bytes, bytes]]) -> Settings:
        environ = {**self._environ, **dict(variables)}
        if not seconds(environ.get(_LOGIN_TIMEOUT, b"")):
            environ[_LOGIN_TIMEOUT] = _LOGIN_SECONDS
        return Settings(self._arguments, environ)
