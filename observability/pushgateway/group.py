"""The gateway as the operator names it: its URL, the host's group in it, and what opens its door.

Owns the rule that no secret stands where others can read it: not in a URL, which is in `ps`, in logs and in
messages, and not in the repr of anything. Pure, but for the one file with the credentials.
"""

import base64
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from observability.errors import UnusableError
from qmail_popup import VERSION

_PORTS = {"http": 80, "https": 443}


class Gateway(NamedTuple):
    """A URL, taken apart; prefix: what stands before /metrics."""

    url: str
    is_secure: bool
    host: str
    port: int
    netloc: str
    prefix: str


class Group:
    """What one host owns on a gateway: the path, and the right to change what is there."""

    def __init__(self, gateway: Gateway, instance: str, credentials: Path | None) -> None:
        """Name it. credentials: a file that holds user:password in its first line; UnusableError."""
        self.gateway = gateway
        self.path = f"/metrics/job/qmail-popup/instance/{quote(instance, safe='')}"
        self._authorization = _authorization(credentials) if credentials else b""

    def head(self, method: str, path: str, length: int) -> bytes:
        """Return the head of a request with a body of that length, as RFC 9112 has it."""
        lines = (
            f"{method} {self.gateway.prefix}{path} HTTP/1.1",
            f"Host: {self.gateway.netloc}",
            f"User-Agent: qmail-popup-sidecar/{VERSION}",
            "Connection: close",
            "Content-Type: text/plain; version=0.0.4; charset=utf-8",
            f"Content-Length: {length}",
        )
        return "".join(f"{line}\r\n" for line in lines).encode() + self._authorization + b"\r\n"


def parse(url: str) -> Gateway:
    """Take a URL apart; ValueError, which never shows it, where it is not http(s)://HOST[:PORT][/PATH]."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        raise ValueError("that is no URL") from None
    if "@" in parts.netloc:
        raise ValueError("a user in the URL is there for all to see; --push-credentials names a file")
    # A blank or a control character would end the request's first line.
    is_clean = url.isascii() and url.isprintable() and " " not in url
    if not (is_clean and host and parts.scheme in _PORTS and port != 0) or parts.query or parts.fragment:
        raise ValueError("a gateway is http://HOST[:PORT] or https://HOST[:PORT]")
    prefix, is_secure = parts.path.rstrip("/"), parts.scheme == "https"
    return Gateway(url, is_secure, host, port or _PORTS[parts.scheme], parts.netloc, prefix)


def _authorization(file: Path) -> bytes:
    try:
        line, _, _ = file.read_bytes().partition(b"\n")
    except OSError as error:
        raise UnusableError(f"cannot read the credentials: {error}") from error
    if b":" not in line:
        raise UnusableError(f"{file} does not hold user:password")
    return b"Authorization: Basic %s\r\n" % base64.b64encode(line.rstrip(b"\r"))
