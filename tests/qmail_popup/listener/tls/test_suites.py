"""The tables of versions and cipher suites."""

import ssl

from qmail_popup.listener.tls import suites


def test_what_openssl_has_of_them() -> None:
    """OpenSSL knows each suite by its name here, and has as many bits for its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(":".join(suite.name.decode() for suite in suites.SUITES if suite.name[:4] == b"ECDH"))
    offered = [(str(cipher["name"]), cipher["strength_bits"]) for cipher in context.get_ciphers()]
    assert offered == [(suite.name.decode(), suite.bits) for suite in suites.SUITES[1:]]


def test_places() -> None:
    """A name leads to its place, and what has none to what says so."""
    assert b"TLSv1.3" == suites.VERSIONS[suites.version_of("TLSv1.3")]
    assert b"TLS_AES_128_GCM_SHA256" == suites.SUITES[suites.suite_of("TLS_AES_128_GCM_SHA256")].name
    assert (suites.UNKNOWN, suites.UNKNOWN, 0) == (
        suites.version_of("TLSv9"),
        suites.version_of(None),
        suites.suite_of("NULL"),
    )
