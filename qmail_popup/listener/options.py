"""The listener's command line, parsed once into an immutable value.

A mistake in it is reported in one line, with status 2. The environment is parsed by `settings`, as for the
popup.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, NoReturn

from qmail_popup import VERSION
from qmail_popup.listener.addresses import Network, read_network
from qmail_popup.listener.ipc.frames import SLOTS
from qmail_popup.listener.process.output import write_if_room

NAME = "qmail-popup-listener"
BAD_USAGE = 2
LOG = 5  # the descriptor of the log
_MAX_HOSTNAME = 255  # bytes: RFC 1035 section 2.3.4
_MAX_PORT, _MAX_PORT_DIGITS = 65535, 5
_MAX_COUNT, _MAX_DIGITS = 1_000_000, 9

TLS_MINIMUMS = ("TLSv1.2", "TLSv1.3")

Endpoint = tuple[str, int]


class Pair(NamedTuple):
    """A file with a certificate chain, and the file with its key."""

    certificate: str
    key: str


class Options(NamedTuple):
    """The parsed command line."""

    pop3: Sequence[Endpoint]
    pop3s: Sequence[Endpoint]
    certificates: Sequence[Pair]
    tls_minimum: str
    """OpenSSL's name of a version."""
    workers: int
    user: str | None
    """None if not given."""
    sessions: int
    connections: int
    connections_per_client: int
    rules: bytes | None
    """A file compiled by tcprules(1), if any."""
    proxy_protocol: Sequence[Network]
    """Networks whose connections begin with a PROXY header."""
    verbose: bool
    log_descriptor: int
    check: bool
    """Only check the configuration."""
    arguments: Sequence[bytes]
    """Hostname, subprogram and its arguments, as on the popup's command line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USAGE, f"{NAME}: {message}\n")


def parse(argv: Sequence[str]) -> Options:
    """Parse the arguments after the program's name; exits on a mistake."""
    parser = _parser()
    parsed = parser.parse_args(argv)
    if parsed.pop3s and not parsed.tls_certificate:
        parser.error("--pop3s needs a --tls-certificate")
    arguments = [os.fsencode(argument) for argument in (parsed.hostname, parsed.subprogram, *parsed.argument)]
    if len(arguments[0]) > _MAX_HOSTNAME:
        parser.error(f"the hostname is longer than {_MAX_HOSTNAME} bytes")
    return Options(
        parsed.pop3,
        parsed.pop3s,
        _pairs(parser, parsed.tls_certificate, parsed.tls_key),
        parsed.tls_minimum,
        parsed.workers or min(len(os.sched_getaffinity(0)), SLOTS),
        parsed.user,
        parsed.sessions,
        parsed.connections,
        parsed.connections_per_client,
        None if parsed.rules is None else os.fsencode(os.path.abspath(parsed.rules)),
        parsed.proxy_protocol,
        parsed.verbose,
        parsed.log_descriptor,
        parsed.check,
        arguments,
    )


def _parser() -> _Parser:
    parser = _Parser(
        prog=NAME,
        allow_abbrev=False,
        usage=f"{NAME} [options] hostname subprogram [argument...]",
        description="Serve POP3 until the login, and run subprogram with name, password and timestamp.",
    )
    add = parser.add_argument
    add("--version", action="version", version=f"{NAME} {VERSION}")
    add("--pop3", type=_endpoint, action="append", default=[], metavar="HOST:PORT", help="listen here")
    _add_tls(add)
    add(
        "--workers",
        type=_workers,
        metavar="N",
        help="number of worker processes (one per core)",
    )
    add("--user", metavar="NAME", help="account of the workers (nobody)")
    add("--sessions", type=_count, default=40, metavar="N", help="maximum number of subprograms (40)")
    add(
        "--connections",
        type=_count,
        default=10_000,
        metavar="N",
        help="maximum number of connections before login (10,000)",
    )
    add("--connections-per-client", type=_count, default=50, metavar="N", help="the same for one client (50)")
    add("--rules", metavar="FILE", help="who may connect, as compiled by tcprules(1)")
    add(
        "--proxy-protocol",
        type=_network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="network of balancers, whose connections begin with a PROXY header",
    )
    add("--verbose", action="store_true", help="log each session, as tcpserver -v does")
    add(
        "--log-descriptor",
        type=_descriptor,
        default=LOG,
        metavar="N",
        help=f"descriptor of the log ({LOG})",
    )
    add("--check", action="store_true", help="report problems, and exit")
    add("hostname")
    add("subprogram")
    add("argument", nargs=argparse.REMAINDER).required = False  # or errors would call it missing
    return parser


def _add_tls(add: Callable[..., object]) -> None:
    add(
        "--pop3s",
        type=_endpoint,
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="listen here, with TLS from the first byte",
    )
    add(
        "--tls-certificate",
        action="append",
        default=[],
        metavar="FILE",
        help="PEM file with the certificate and its chain; offers STLS",
    )
    add(
        "--tls-key", action="append", default=[], metavar="FILE", help="PEM file with its key (the same file)"
    )
    add(
        "--tls-minimum",
        type=_tls_minimum,
        default=TLS_MINIMUMS[0],
        metavar="VERSION",
        help="oldest TLS version accepted, 1.2 or 1.3 (1.2)",
    )


def _pairs(parser: _Parser, certificates: Sequence[str], keys: Sequence[str]) -> list[Pair]:
    """Pair certificates and keys in order; without keys, each certificate file also holds its key."""
    if keys and len(keys) != len(certificates):
        parser.error("--tls-key must be given as often as --tls-certificate")
    return [Pair(*files) for files in zip(certificates, keys or certificates, strict=True)]


def _tls_minimum(text: str) -> str:
    """Parse a version, with or without the leading "TLSv"."""
    version = f"TLSv{text.lower().removeprefix('tlsv')}"
    if version not in TLS_MINIMUMS:
        raise argparse.ArgumentTypeError(f"neither 1.2 nor 1.3: {text!r}")
    return version


def _count(text: str) -> int:
    """Parse a number above 0."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and 0 < int(text) <= _MAX_COUNT):
        raise argparse.ArgumentTypeError(f"not a number from 1 to {_MAX_COUNT}: {text!r}")
    return int(text)


def _workers(text: str) -> int:
    count = _count(text)
    if count > SLOTS:
        raise argparse.ArgumentTypeError(f"more than {SLOTS}: {text}")
    return count


def _descriptor(text: str) -> int:
    """Parse the number of an open descriptor."""
    try:
        os.fstat(int(text))
    except (OSError, ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"not an open descriptor: {text!r}") from error
    return int(text)


def _network(text: str) -> Network:
    try:
        return read_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a network: {error}") from error


def _endpoint(text: str) -> Endpoint:
    """Parse HOST:PORT; an IPv6 address is in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not _is_port(port):
        raise argparse.ArgumentTypeError(f"not HOST:PORT: {text!r}")
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and host != f"[{bare}]":
        raise argparse.ArgumentTypeError(f"an IPv6 address must be in brackets: {text!r}")
    try:
        bare.encode("idna")  # as getaddrinfo does
    except UnicodeError as error:
        raise argparse.ArgumentTypeError(f"not a host name: {bare!r}") from error
    return bare, int(port)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_PORT_DIGITS and int(text) <= _MAX_PORT


def complain(text: str) -> None:
    """Write one line to descriptor 2, or drop it: a stopped reader must not block the process."""
    with suppress(OSError):
        write_if_room(2, f"{NAME}: {text}\n".encode(errors="backslashreplace"))


def fail(text: str, status: int) -> NoReturn:
    """Log one line and exit."""
    complain(text)
    sys.exit(status)
