"""The versions and cipher suites of TLS that there are here, each by its place in a table.

All that a worker can say of a client's TLS is such a place. The names are OpenSSL's, which sslserver and the
event use too.
"""

from typing import NamedTuple

CLEAR, UNKNOWN = 0, 1  # no TLS; TLS whose handshake is not done
VERSIONS = (b"", b"", b"TLSv1.2", b"TLSv1.3")


class Suite(NamedTuple):
    """A cipher suite, and the bits of its key."""

    name: bytes
    bits: int


# Those of TLS 1.3, in OpenSSL's order, then what TLS 1.2 has with forward secrecy and without CBC.
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
    """Return the place of a version, by the name that OpenSSL has for it."""
    return _VERSIONS.get(name or "", UNKNOWN)


def suite_of(name: str) -> int:
    """Return the place of a cipher suite, 0 where it has none."""
    return _SUITES.get(name, 0)
