"""Certificates as on a mail host: a chain with an intermediate, RSA and ECDSA, one name or several."""

import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.programs import need

RSA, ECDSA = ("rsa:2048",), ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
_AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")


class Issuer:
    """A root and an intermediate authority; PEM files in one directory."""

    def __init__(self, directory: Path) -> None:
        """Create both authorities."""
        self._directory = directory
        self.root = self._request("root", ECDSA, "/CN=Test root", _AUTHORITY)
        self._request("between", ECDSA, "/CN=Test intermediate", _AUTHORITY, signer="root")

    def issue(self, name: str, kind: Sequence[str], *hosts: str) -> list[str]:
        """Issue a certificate for hosts, the first as its subject; return the listener's options for it."""
        names = ",".join(f"DNS:{host}" for host in hosts)
        alternative = [f"subjectAltName={names},IP:127.0.0.1"] if hosts else []
        extensions = ("basicConstraints=critical,CA:FALSE", *alternative)
        subject = f"/CN={hosts[0] if hosts else 'nobody'}"
        certificate = self._request(name, kind, subject, extensions, signer="between")
        with certificate.open("ab") as chain:
            chain.write((self._directory / "between.pem").read_bytes())
        return ["--tls-certificate", str(certificate), "--tls-key", str(self.key(name))]

    def key(self, name: str) -> Path:
        """Return the file with a certificate's key."""
        return self._directory / f"{name}.key"

    def trusted(self) -> ssl.SSLContext:
        """Return the context of a client that trusts only the root."""
        return ssl.create_default_context(cafile=str(self.root))

    def _request(
        self, name: str, kind: Sequence[str], subject: str, extensions: Sequence[str], signer: str = ""
    ) -> Path:
        (openssl,) = need("openssl")
        certificate = self._directory / f"{name}.pem"
        what = ["-subj", subject, "-keyout", str(self.key(name)), "-out", str(certificate)]
        for extension in extensions:
            what += ["-addext", extension]
        if signer:
            what += ["-CA", str(self._directory / f"{signer}.pem"), "-CAkey", str(self.key(signer))]
        argv = [openssl, "req", "-x509", "-days", "2", "-nodes", "-newkey", *kind, *what]
        subprocess.run(argv, check=True, capture_output=True)
        return certificate
