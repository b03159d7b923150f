"""What goes wrong, in words."""

import ssl
from pathlib import Path

from observability.errors import describe
from observability.otlp.process import cause_of
from tests.support import authority

_STRICT = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN  # as Python 3.13 has it by default


def refusal(server: authority.Authority, client: ssl.SSLContext) -> ssl.SSLCertVerificationError:
    """Have a client refuse a server's certificate; return why."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = context.wrap_bio(there, back, server_side=True)
    asking = client.wrap_bio(back, there, server_hostname="localhost")
    for side in [asking, serving] * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            return error
    raise AssertionError("it was not refused")


def test_a_certificate_that_only_a_newer_python_refuses(tmp_path: Path) -> None:
    """An authority as plain openssl makes it is refused by a strict client; the message tells what to do."""
    plain = authority.make(tmp_path, ())
    client = ssl.create_default_context(cafile=str(plain.ca))
    client.verify_flags |= _STRICT
    error = refusal(plain, client)
    for text in (describe(error), cause_of(error)):
        assert text.startswith("its certificate is refused: CA cert does not include key usage extension (")
        assert "-addext keyUsage=" in text


def test_a_certificate_of_nobody_who_is_known(tmp_path: Path) -> None:
    """Nothing is said of strictness where that is not the matter."""
    made = authority.make(tmp_path)
    (tmp_path / "other").mkdir()
    error = refusal(made, authority.make(tmp_path / "other").trusted())
    assert "its certificate is refused: unable to get local issuer certificate" == describe(error)
