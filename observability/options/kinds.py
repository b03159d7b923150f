"""Strict parsers for the values of command-line options.

One parser for each kind of value, URLs among them: text in, a value out, or ValueError, which says what is
wrong and never repeats a password. Pure, except that the links of --state are followed and that --spool is
looked at. settings.py has the options' names.
"""

import errno
import os
import stat
import threading
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65535
_MAX_SECONDS = 86400.0
_TEXTFILE_SUFFIX = ".prom"
_LOOK_SECONDS = 1.0  # for a file system that answers; one that hangs must not delay the start further


class Gateway(NamedTuple):
    """A Pushgateway's URL, parsed; prefix: the path before /metrics."""

    url: str
    is_secure: bool
    host: str
    port: int
    netloc: str
    prefix: str


class TLS(NamedTuple):
    """PEM files; with a client_ca, scrapers must present a certificate signed by it."""

    certificate: Path
    key: Path
    client_ca: Path | None


def gateway(url: str) -> Gateway:
    """Parse http(s)://HOST[:PORT][/PATH]; the ValueError never shows it, because it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        raise ValueError("not a URL") from None
    if "@" in parts.netloc:
        raise ValueError(
            "a URL must not contain a user, because everybody could read it; use --push-credentials"
        )
    # A space or a control character would end the request line.
    is_clean = url.isascii() and url.isprintable() and " " not in url
    if not (is_clean and host and parts.scheme in _PORTS and port != 0) or parts.query or parts.fragment:
        raise ValueError("must be http://HOST[:PORT] or https://HOST[:PORT]")
    prefix, is_secure = parts.path.rstrip("/"), parts.scheme == "https"
    return Gateway(url, is_secure, host, port or _PORTS[parts.scheme], parts.netloc, prefix)


def collector(url: str) -> str:
    """Parse the URL of an OTLP collector; the ValueError never shows it: it may hold a password."""
    error = ValueError("must be a URL that begins with http:// or https://")
    try:
        parts = urlsplit(url)
        is_plain = url.isprintable() and " " not in url and not parts.query and not parts.fragment
        is_reachable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise error from None
    if "@" in parts.netloc:
        raise ValueError("a URL must not contain a user; put credentials in OTEL_EXPORTER_OTLP_HEADERS")
    if not (is_plain and is_reachable):
        raise error
    return url


def address(text: str) -> tuple[str, int]:
    """Parse HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def path(text: str) -> Path:
    """Parse a path; an empty one is rejected, because it would mean the working directory."""
    if not text or "\0" in text:
        raise ValueError("the path is empty" if not text else f"{text!r} is not a path")
    return Path(text)


def resolved(text: str) -> Path:
    """Parse a path and follow its links, so that related files are created beside the file itself."""
    found = path(text)
    try:
        found = found.resolve()
        is_loop = stat.S_ISLNK(found.lstat().st_mode)  # Python 3.13 and newer leave a loop unresolved
    except RuntimeError:  # up to Python 3.12
        is_loop = True
    except OSError as error:
        is_loop = error.errno == errno.ELOOP
    if is_loop:
        raise ValueError(f"{text}: its symbolic links form a loop")
    return found


def is_in_the_way(directory: Path) -> bool:
    """Whether there is something else where a directory should be; False if nobody can look or that hangs."""
    found: list[bool] = []
    look = threading.Thread(
        target=lambda: found.append(os.path.exists(directory) and not os.path.isdir(directory)), daemon=True
    )
    try:
        look.start()
    except RuntimeError:  # under a limit of memory there may be none for its stack, as for a pusher's
        return False
    look.join(_LOOK_SECONDS)
    return found == [True]


def textfile(text: str) -> Path:
    """Parse the name of a file for node_exporter."""
    found = path(text)
    if not found.name.endswith(_TEXTFILE_SUFFIX) or found.name == _TEXTFILE_SUFFIX:
        raise ValueError(
            f"{text!r} does not end in {_TEXTFILE_SUFFIX}, and node_exporter reads no other files"
        )
    return found


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    if not 0 <= (number := _number(text)) <= 1:
        raise ValueError(f"{text!r} is not a number from 0 to 1")
    return number


def seconds(text: str) -> float:
    """Parse a number of seconds, at most a day."""
    if not 0 < (number := _number(text)) <= _MAX_SECONDS:
        raise ValueError(f"{text!r} is not a number of seconds above 0 and up to {_MAX_SECONDS:.0f}")
    return number


def instance(text: str) -> str:
    """Parse a host's name; a slash would add a level to the gateway's path."""
    if not text.isprintable() or "/" in text or text in ("", ".", ".."):
        raise ValueError(f"{text!r} is not a valid instance name")
    return text


def sessions(text: str) -> int:
    """Parse a number of sessions."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{text!r} is not a number of sessions")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
