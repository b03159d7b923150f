"""What the tests of a listener with TLS share."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from qmail_popup.listener.options import Pair
from qmail_popup.listener.tls import certificates
from qmail_popup.listener.tls.engine import Server
from tests.support.issuer import ECDSA, RSA, Issuer


@dataclass(frozen=True)
class Certified:
    """A host's certificates: RSA and ECDSA, in a chain, and the options of a listener that has them."""

    issuer: Issuer
    options: Sequence[str]


@pytest.fixture(scope="session")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    """Return certificates for localhost."""
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    pairs = [*issuer.issue("rsa", RSA, "localhost"), *issuer.issue("ecdsa", ECDSA, "localhost")]
    return Certified(issuer, ["--pop3s", "127.0.0.1:0", *pairs])


@pytest.fixture(scope="session")
def tls_server(certified: Certified) -> Server:
    """Return what starts TLS with clients, without a listener around it; it has the first certificate."""
    told = certified.options
    pair = Pair(told[told.index("--tls-certificate") + 1], told[told.index("--tls-key") + 1])
    return Server(certificates.load([pair], "TLSv1.2")[0])
