"""What each option of the command line means, read strictly.

Owns one reader for each kind of value, URLs among them: text in, a value out, or ValueError, which says what
is wrong and never repeats a password. Pure, except for --state, whose links are followed. settings.py has the
names of the options.
"""

import errno
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65535
_MAX_SECONDS = 86400.0
_TEXTFILE_SUFFIX = ".prom"


class Gateway(NamedTuple):
    """The URL of a Pushgateway, taken apart; prefix: what stands before /metrics."""

    url: str
    is_secure: bool
    host: str
    port: int
    netloc: str
    prefix: str


class TLS(NamedTuple):
    """Files in PEM; with a client_ca, who scrapes has to show a certificate that it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None


def gateway(url: str) -> Gateway:
    """Read http(s)://HOST[:PORT][/PATH]; the ValueError never shows it, for it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        raise ValueError("that is not a URL") from None
    if "@" in parts.netloc:
        raise ValueError("a URL must not hold a user: everybody could read it; see --push-credentials")
    # A blank or a control character would end the request's first line.
    is_clean = url.isascii() and url.isprintable() and " " not in url
    if not (is_clean and host and parts.scheme in _PORTS and port != 0) or parts.query or parts.fragment:
        raise ValueError("a gateway is http://HOST[:PORT] or https://HOST[:PORT]")
    prefix, is_secure = parts.path.rstrip("/"), parts.scheme == "https"
    return Gateway(url, is_secure, host, port or _PORTS[parts.scheme], parts.netloc, prefix)


def collector(url: str) -> str:
    """Read the URL of an OTLP collector; the ValueError never shows it, for it may hold a password."""
    error = ValueError("it has to be a URL that begins with http:// or https://")
    try:
        parts = urlsplit(url)
        is_plain = url.isprintable() and " " not in url and not parts.query and not parts.fragment
        is_reachable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise error from None
    if "@" in parts.netloc:
        raise ValueError("a URL must not hold a user; credentials belong in OTEL_EXPORTER_OTLP_HEADERS")
    if not (is_plain and is_reachable):
        raise error
    return url


def address(text: str) -> tuple[str, int]:
    """Read HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def path(text: str) -> Path:
    """Read a path, which is not empty: that would be the working directory."""
    if not text or "\0" in text:
        raise ValueError("the path is empty" if not text else f"{text!r} is not a path")
    return Path(text)


def resolved(text: str) -> Path:
    """Read a path and follow its links, so that what belongs to the file stands beside the file itself."""
    found = path(text)
    try:
        found = found.resolve()
        is_loop = stat.S_ISLNK(found.lstat().st_mode)  # from Python 3.13 on it is left as it is
    except RuntimeError:  # up to Python 3.12
        is_loop = True
    except OSError as error:
        is_loop = error.errno == errno.ELOOP
    if is_loop:
        raise ValueError(f"{text}: its symbolic links form a loop")
    return found


def textfile(text: str) -> Path:
    """Read the name of a file that node_exporter will read."""
    found = path(text)
    if not found.name.endswith(_TEXTFILE_SUFFIX) or found.name == _TEXTFILE_SUFFIX:
        raise ValueError(
            f"{text!r} does not end in {_TEXTFILE_SUFFIX}, and node_exporter reads no other files"
        )
    return found


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    if not 0 <= (number := _number(text)) <= 1:
        raise ValueError(f"{text!r} is not a number from 0 to 1")
    return number


def seconds(text: str) -> float:
    """Read a number of seconds, a day at most."""
    if not 0 < (number := _number(text)) <= _MAX_SECONDS:
        raise ValueError(f"{text!r} is not a number of seconds from above 0 to {_MAX_SECONDS:.0f}")
    return number


def instance(text: str) -> str:
    """Read the name of a host; a slash would be another level of the gateway's path."""
    if not text.isprintable() or "/" in text or text in ("", ".", ".."):
        raise ValueError(f"{text!r} is not a name")
    return text


def sessions(text: str) -> int:
    """Read a number of sessions."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{text!r} is not a number of sessions")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
