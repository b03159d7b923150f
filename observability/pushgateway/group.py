"""One host's group on a Pushgateway: its path, and the credentials sent with each request.

Owns the credentials, which appear in no URL, message or repr. Pure, except that it reads their file.
"""

import base64
from pathlib import Path
from urllib.parse import quote

import h11

from observability.errors import UnusableError
from observability.options.kinds import Gateway
from observability.settings import Settings
from qmail_popup import VERSION

Headers = tuple[tuple[str, str], ...]


class Group:
    """A host's group on a gateway: its path, and the credentials to change it."""

    def __init__(self, gateway: Gateway, instance: str, credentials: Path | None) -> None:
        """credentials: a file with user:password in its first line; UnusableError."""
        self.gateway = gateway
        self.path = f"/metrics/job/qmail-popup/instance/{quote(instance, safe='')}"
        self._credentials = credentials
        self._authorization: Headers = ()
        self.reload()

    def reload(self) -> None:
        """Reload the credentials; on UnusableError the previous ones stay in use."""
        self._authorization = _authorization(self._credentials) if self._credentials else ()

    def request(self, method: str, path: str, length: int) -> h11.Request:
        """Return the head of a request with a body of this length."""
        headers = [
            ("Host", self.gateway.netloc),
            ("User-Agent", f"qmail-popup-sidecar/{VERSION}"),
            ("Connection", "close"),
            ("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),
            ("Content-Length", str(length)),
            *self._authorization,
        ]
        return h11.Request(method=method, target=f"{self.gateway.prefix}{path}", headers=headers)


def of_host(settings: Settings) -> Group:
    """Return the group that settings name; UnusableError."""
    if not settings.push:
        raise UnusableError("--push is missing")
    return Group(settings.push, settings.instance, settings.push_credentials)


def _authorization(file: Path) -> Headers:
    try:
        line, _, _ = file.read_bytes().partition(b"\n")
    except OSError as error:
        raise UnusableError(f"cannot use --push-credentials {file}: {error.strerror}") from error
    if b":" not in line:
        raise UnusableError(f"cannot use --push-credentials {file}: the first line is not user:password")
    encoded = base64.b64encode(line.rstrip(b"\r")).decode()
    return (("Authorization", f"Basic {encoded}"),)
