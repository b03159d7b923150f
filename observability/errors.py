"""What goes wrong, in words for a person: what ends the sidecar, and what is logged once while it lasts."""

import os
from collections.abc import Callable

# What OpenSSL finds wrong only where it is strict, as Python's default is from 3.13 on (VERIFY_X509_STRICT).
_STRICT = ("key usage extension", "Key Identifier", "Basic Constraints")
_REMEDY = (
    "Python 3.13 and newer enforce RFC 5280: make the authority with "
    "openssl req -x509 -addext keyUsage=critical,keyCertSign, and sign the server's certificate again"
)

Log = Callable[[str, str], None]  # level (info, warning or error) and message


class UnusableError(Exception):
    """Something that the operator named cannot be used; the message says why, in one line."""


class HeldError(UnusableError):
    """Somebody else is at work on what the operator named, and does what is to be done."""


class Errors:
    """What is wrong now, by what it concerns: logged once, when it begins or changes."""

    def __init__(self, log: Log) -> None:
        """Nothing is wrong."""
        self._log = log
        self._known: dict[str, str] = {}

    @property
    def names(self) -> frozenset[str]:
        """What is wrong now, by names; read in any thread."""
        return frozenset(self._known)

    def note(self, name: str, error: str) -> None:
        """Log an error of that name, unless it is known; an empty one: it is over."""
        if error == self._known.get(name, ""):
            return
        if error:
            self._log("warning", error)
        others = {known: what for known, what in self._known.items() if known != name}
        self._known = {**others, name: error} if error else others


def describe(error: Exception) -> str:
    """Return what went wrong in one line, for a person: no number of errno, and its file where it has one."""
    filename = getattr(error, "filename", None)
    return f"{os.fsdecode(filename)}: {reason(error)}" if filename else reason(error)


def reason(error: Exception) -> str:
    """Return the same without the file, where the message names that already."""
    if refused := getattr(error, "verify_message", None):  # ssl.SSLCertVerificationError's alone
        remedy = f" ({_REMEDY})" if any(part in refused for part in _STRICT) else ""
        return f"its certificate is refused: {refused}{remedy}"
    strerror = getattr(error, "strerror", None)
    return strerror if isinstance(strerror, str) else " ".join(str(error).split()) or type(error).__name__
