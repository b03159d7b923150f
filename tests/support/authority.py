"""A certificate authority and a server's certificate, made with the openssl command."""

import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import need

# Required by RFC 5280, 4.2.1.3 and 4.2.1.9; Python enforces it since 3.13 (VERIFY_X509_STRICT).
_CA = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
_SERVER = ("basicConstraints=critical,CA:FALSE", "subjectAltName=DNS:localhost,IP:127.0.0.1")


@dataclass(frozen=True)
class Authority:
    """Files in PEM."""

    ca: Path
    """The CA certificate that clients trust."""
    certificate: Path
    key: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables for `ucspi_tls`."""
        return {"CERTFILE": str(self.certificate), "KEYFILE": str(self.key)}

    def both(self, file: Path) -> Path:
        """Write key and certificate into one file, as tlswrapper and stunnel read them."""
        file.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        file.chmod(0o600)
        return file

    def trusted(self) -> ssl.SSLContext:
        """Return the context of a client that trusts the authority."""
        return ssl.create_default_context(cafile=str(self.ca))


def make(directory: Path, extensions: Sequence[str] = _CA) -> Authority:
    """Create both in `directory`; the certificate is for localhost and 127.0.0.1.

    extensions: the authority's, in addition to openssl's defaults
    """
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    certificate, key = directory / "server.pem", directory / "server.key"
    _request(ca, ca_key, "/CN=Test authority", extensions)
    _request(certificate, key, "/CN=localhost", _SERVER, "-CA", str(ca), "-CAkey", str(ca_key))
    return Authority(ca, certificate, key)


def expire(made: Authority) -> None:
    """Replace the certificate by a self-signed one with the same key that expired a day ago."""
    (openssl,) = need("openssl")
    again = ("-x509toreq", "-in", str(made.certificate), "-signkey", str(made.key))
    yesterday = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() - 86400))
    request = subprocess.run([openssl, "x509", *again], check=True, capture_output=True).stdout
    known = subprocess.run([openssl, "x509", "-help"], check=True, capture_output=True, text=True).stderr
    # OpenSSL 3.4 rejects a negative number of days, but accepts dates.
    dates = (
        ("-not_before", "20200101000000Z", "-not_after", yesterday)
        if "-not_after" in known
        else ("-days", "-1")
    )
    sign = ("-req", *dates, "-signkey", str(made.key), "-out", str(made.certificate))
    subprocess.run([openssl, "x509", *sign], input=request, check=True, capture_output=True)


def _request(certificate: Path, key: Path, subject: str, extensions: Sequence[str], *more: str) -> None:
    (openssl,) = need("openssl")
    kind = ("req", "-x509", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    what = ["-subj", subject, "-keyout", str(key), "-out", str(certificate)]
    for extension in extensions:
        what += ["-addext", extension]
    subprocess.run([openssl, *kind, *what, *more], check=True, capture_output=True)
