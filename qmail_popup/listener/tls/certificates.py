"""Certificates and keys: read once, before privileges are dropped, into SSL contexts.

A pair serves the names in its certificate, including those that a wildcard covers. Pairs for the same name
share one context, so that a client gets the key type that it supports. A client that requests no name, or an
unknown one, gets the first pair and those that share its first name.
"""

import ssl
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from qmail_popup.listener.options import Pair
from qmail_popup.listener.tls import x509
from qmail_popup.listener.tls.suites import SUITES
from qmail_popup.listener.tls.x509 import Certificate

_CLEANSE_PLAINTEXT = 1 << 1  # SSL_OP_CLEANSE_PLAINTEXT of OpenSSL 3.0, because passwords are in it
_OPTIONS = (
    ssl.OP_NO_TICKET
    | ssl.OP_NO_RENEGOTIATION
    | ssl.OP_NO_COMPRESSION
    | ssl.OP_CIPHER_SERVER_PREFERENCE
    | ssl.OP_SINGLE_ECDH_USE
    | _CLEANSE_PLAINTEXT
)
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_TLS_1_2 = b"ECDHE-"  # prefix of its suites' names; OpenSSL chooses those of 1.3 itself
_CIPHERS = ":".join(suite.name.decode() for suite in SUITES if suite.name.startswith(_TLS_1_2))
_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


class UnusableError(Exception):
    """A pair cannot be used; says which and why."""


class _Loaded(NamedTuple):
    pair: Pair
    certificate: Certificate


def load(pairs: Sequence[Pair], minimum: str) -> tuple[ssl.SSLContext, list[str]]:
    """Return the context that each connection starts with, and warnings; UnusableError.

    minimum: OpenSSL's name of the oldest version
    """
    oldest = _VERSIONS[minimum]
    loaded = [_Loaded(pair, _checked(pair, oldest)) for pair in pairs]
    contexts = _Contexts([pair for pair, _ in loaded], oldest)
    names = dict.fromkeys(name for _, certificate in loaded for name in certificate.names)
    named = {name: contexts.of(_places(loaded, name)) for name in names}
    first = named[loaded[0].certificate.names[0]] if loaded[0].certificate.names else contexts.of([0])
    first.sni_callback = lambda client, name, _context: _choose(client, name, named)
    return first, list(_complaints(loaded))


def _places(loaded: Sequence[_Loaded], name: str) -> list[int]:
    """Return the indexes of pairs that serve a name: exact matches, then wildcards."""
    have = [place for place, one in enumerate(loaded) if name in one.certificate.names]
    cover = [place for place, one in enumerate(loaded) if _wildcard(name) in one.certificate.names]
    return [*dict.fromkeys(have + cover)]


def _wildcard(name: str) -> str:
    """Return the wildcard that covers a name (RFC 6125 section 6.4.3)."""
    return f"*.{name.partition('.')[2]}"


class _Contexts:
    """One context for each combination of pairs."""

    def __init__(self, pairs: Sequence[Pair], oldest: ssl.TLSVersion) -> None:
        self._pairs, self._oldest = pairs, oldest
        self._made: dict[tuple[int, ...], ssl.SSLContext] = {}

    def of(self, places: Sequence[int]) -> ssl.SSLContext:
        key = tuple(places)
        if key not in self._made:
            self._made[key] = _context([self._pairs[place] for place in places], self._oldest)
        return self._made[key]


def _choose(
    client: ssl.SSLObject | ssl.SSLSocket, name: str | None, named: dict[str, ssl.SSLContext]
) -> None:
    """Switch to the context of the name that the client requests (RFC 6066 section 3)."""
    if name is None:
        return
    name = name.lower()
    if context := named.get(name) or named.get(_wildcard(name)):
        client.context = context


def _context(pairs: Iterable[Pair], oldest: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a context with these pairs; of two with the same key type, the first one is used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = oldest
    context.options |= _OPTIONS
    context.num_tickets = 0
    context.set_ciphers(_CIPHERS)
    for pair in reversed([*pairs]):
        _add(context, pair)
    return context


def _add(context: ssl.SSLContext, pair: Pair) -> None:
    """Load a pair; UnusableError. It may have been replaced since it was loaded last."""
    try:
        context.load_cert_chain(pair.certificate, pair.key, password=_no_password)
    except UnusableError:
        raise UnusableError(f"the key in {pair.key} is encrypted") from None
    except ssl.SSLError as error:
        raise UnusableError(_why(pair, error)) from error
    except OSError as error:
        raise UnusableError(f"cannot read {pair.certificate} or {pair.key}: {error.strerror}") from error


def _no_password() -> str:
    """Refuse an encrypted key instead of prompting for its password."""
    raise UnusableError


def _checked(pair: Pair, oldest: ssl.TLSVersion) -> Certificate:
    """Load a pair to validate it and return its certificate; UnusableError."""
    certificate = _read(pair.certificate, _contents(pair.certificate))
    _contents(pair.key)
    _context([pair], oldest)
    return certificate


def _contents(file: str) -> str:
    try:
        with open(file, encoding="latin-1") as pem:
            return pem.read()
    except OSError as error:
        raise UnusableError(f"cannot read {file}: {error.strerror}") from error


def _read(file: str, text: str) -> Certificate:
    start = text.find(ssl.PEM_HEADER)
    end = text.find(ssl.PEM_FOOTER, start)
    try:
        return x509.read(ssl.PEM_cert_to_DER_cert(text[start : end + len(ssl.PEM_FOOTER)]))
    except (ValueError, IndexError, KeyError) as error:
        raise UnusableError(f"no certificate in {file}") from error


def _why(pair: Pair, error: ssl.SSLError) -> str:
    if error.reason in _MISMATCHES:
        return f"the key in {pair.key} is not that of the certificate in {pair.certificate}"
    reason = (error.reason or "no key of a known form").replace("_", " ").lower()
    return f"cannot use {pair.certificate} with the key in {pair.key}: {reason}"


def _complaints(loaded: Iterable[_Loaded]) -> Iterable[str]:
    now = datetime.now(UTC)
    for pair, certificate in loaded:
        if certificate.ends < now:
            yield f"the certificate in {pair.certificate} expired on {certificate.ends:%Y-%m-%d %H:%M} UTC"
        elif certificate.begins > now:
            yield f"the certificate in {pair.certificate} begins on {certificate.begins:%Y-%m-%d %H:%M} UTC"
