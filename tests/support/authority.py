"""A certificate authority and a server's certificate, made with the openssl command."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import need


@dataclass(frozen=True)
class Authority:
    """Files in PEM."""

    ca: Path
    """What clients trust."""
    certificate: Path
    key: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return what `ucspi_tls` wants of it."""
        return {"CERTFILE": str(self.certificate), "KEYFILE": str(self.key)}

    def trusted(self) -> ssl.SSLContext:
        """Return the context of a client that trusts it."""
        return ssl.create_default_context(cafile=str(self.ca))


def make(directory: Path) -> Authority:
    """Make both in `directory`; the certificate is for localhost and 127.0.0.1."""
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    certificate, key = directory / "server.pem", directory / "server.key"
    _request(ca, ca_key, "/CN=Test authority", "basicConstraints=critical,CA:TRUE")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    _request(certificate, key, "/CN=localhost", names, "-CA", str(ca), "-CAkey", str(ca_key))
    return Authority(ca, certificate, key)


def _request(certificate: Path, key: Path, subject: str, extension: str, *more: str) -> None:
    (openssl,) = need("openssl")
    kind = ("req", "-x509", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    what = ("-subj", subject, "-addext", extension, "-keyout", str(key), "-out", str(certificate))
    subprocess.run([openssl, *kind, *what, *more], check=True, capture_output=True)
