"""The supported TLS versions and cipher suites, each identified by its index in a table.

A worker can describe a client's TLS only by these indexes. The names are OpenSSL's, as sslserver and the
event use them.
"""

from typing import NamedTuple

CLEAR, UNKNOWN = 0, 1  # no TLS; handshake not complete
VERSIONS = (b"", b"", b"TLSv1.2", b"TLSv1.3")


class Suite(NamedTuple):
    """A cipher suite and its key size."""

    name: bytes
    bits: int


# TLS 1.3 in OpenSSL's order, then TLS 1.2 with forward secrecy and without CBC.
SUITES = (
    Suite(b"", 0),
    Suite(b"TLS_AES_256_GCM_SHA384", 256),
    Suite(b"TLS_CHACHA20_POLY1305_SHA256", 256),
    Suite(b"TLS_AES_128_GCM_SHA256", 128),
    Suite(b"ECDHE-ECDSA-AES256-GCM-SHA384", 256),
    Suite(b"ECDHE-RSA-AES256-GCM-SHA384", 256),
    Suite(b"ECDHE-ECDSA-CHACHA20-POLY1305", 256),
    Suite(b"ECDHE-RSA-CHACHA20-POLY1305", 256),
    Suite(b"ECDHE-ECDSA-AES128-GCM-SHA256", 128),
    Suite(b"ECDHE-RSA-AES128-GCM-SHA256", 128),
)
_VERSIONS = {name.decode(): place for place, name in enumerate(VERSIONS) if name}
_SUITES = {suite.name.decode(): place for place, suite in enumerate(SUITES) if suite.name}


def version_of(name: str | None) -> int:
    """Return the index of a version by OpenSSL's name."""
    return _VERSIONS.get(name or "", UNKNOWN)


def suite_of(name: str) -> int:
    """Return the index of a cipher suite by OpenSSL's name, 0 if not in the table."""
    return _SUITES.get(name, 0)
