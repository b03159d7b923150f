"""Errors in words for a person: those that end the sidecar, and those logged once while they last."""

import os
from collections.abc import Callable

# What OpenSSL rejects only with VERIFY_X509_STRICT, Python's default since 3.13.
_STRICT = ("key usage extension", "Key Identifier", "Basic Constraints")
_REMEDY = (
    "Python 3.13 and newer enforce RFC 5280: make the authority with "
    "openssl req -x509 -addext keyUsage=critical,keyCertSign, and sign the server's certificate again"
)

Log = Callable[[str, str], None]  # level (info, warning or error) and message


class UnusableError(Exception):
    """Something the operator named cannot be used; the message says why in one line."""


class HeldError(UnusableError):
    """Another process holds what the operator named, and is doing the work."""


class Errors:
    """Current errors by name; each is logged once, when it begins or changes."""

    def __init__(self, log: Log) -> None:
        """Start without errors."""
        self._log = log
        self._known: dict[str, str] = {}

    @property
    def names(self) -> frozenset[str]:
        """The names of current errors; may be read in any thread."""
        return frozenset(self._known)

    def note(self, name: str, error: str) -> None:
        """Log a named error unless it is already known; an empty one clears it."""
        if error == self._known.get(name, ""):
            return
        if error:
            self._log("warning", error)
        others = {known: what for known, what in self._known.items() if known != name}
        self._known = {**others, name: error} if error else others


def describe(error: Exception) -> str:
    """Return an error as one line for a person: without errno, with its file if it has one."""
    filename = getattr(error, "filename", None)
    return f"{os.fsdecode(filename)}: {reason(error)}" if filename else reason(error)


def reason(error: Exception) -> str:
    """Return the same without the file, for a message that already names it."""
    if refused := getattr(error, "verify_message", None):  # only ssl.SSLCertVerificationError has it
        remedy = f" ({_REMEDY})" if any(part in refused for part in _STRICT) else ""
        return f"its certificate is refused: {refused}{remedy}"
    strerror = getattr(error, "strerror", None)
    return strerror if isinstance(strerror, str) else " ".join(str(error).split()) or type(error).__name__
