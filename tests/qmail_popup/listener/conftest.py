"""What the tests of a listener with TLS share."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

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
