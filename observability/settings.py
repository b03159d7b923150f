"""The command line, as one immutable value.

Owns the options: names, defaults and what makes sense. A bad one is one clear line and status 2.
"""

import argparse
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from observability.errors import UnusableError
from observability.otlp.exporter import misses
from observability.privacy import CLIENT_ADDRESSES, USER_NAMES
from observability.prometheus.endpoint import TLS
from observability.pushgateway import group as gateway
from observability.pushgateway.group import Gateway, Group

PROGRAM = "qmail-popup-sidecar"
_PORT_MOST = 65535
_SECONDS_MOST = 86400.0
_NEEDS = (  # the first is nothing without the second
    ("tls_cert", "tls_key"),
    ("tls_key", "tls_cert"),
    ("tls_client_ca", "tls_cert"),
    ("push_credentials", "push"),
    ("delete_group", "push"),
    ("once", "push"),
)


class Settings(NamedTuple):
    """What the operator wants."""

    socket: Path
    spool: Path
    state: Path  # without links: what belongs to it stands beside the file itself
    host: str
    port: int
    tls: TLS | None
    push: Gateway | None
    push_interval: float
    push_credentials: Path | None
    instance: str
    delete_group: bool
    once: bool
    textfile: Path | None
    sessions_limit: int | None
    json_log: bool
    user_names: str
    client_addresses: str
    otlp: str | None
    otlp_metrics: bool
    sample_accepted: float
    reset_state: bool

    def group(self) -> Group:
        """Return where to push, credentials and all; UnusableError."""
        if not self.push:
            raise UnusableError("there is no gateway")
        return Group(self.push, self.instance, self.push_credentials)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: {' '.join(message.split())}\n")


def parse(argv: Sequence[str], version: str) -> Settings:
    """Read argv; SystemExit, with status 2 where it makes no sense."""
    parser = _Parser(prog=PROGRAM, description="Count what qmail-popup does.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version}")
    for name, option in _OPTIONS.items():
        parser.add_argument(name, **option)
    found = parser.parse_args(argv)
    for wanted, needed in _NEEDS:
        if vars(found)[wanted] and not vars(found)[needed]:
            parser.error(f"--{wanted} needs --{needed}".replace("_", "-"))
    if found.once and (found.textfile or found.delete_group):
        parser.error("--textfile and --delete-group are not for a pusher")
    host, port = found.listen
    tls = TLS(found.tls_cert, found.tls_key, found.tls_client_ca) if found.tls_cert else None
    found.instance = found.instance or socket.gethostname()
    given = {name: value for name, value in vars(found).items() if name in Settings._fields}
    return Settings(host=host, port=port, tls=tls, **given)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= _PORT_MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _resolved(text: str) -> Path:
    try:
        return Path(text).resolve()
    except (OSError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _file(text: str) -> Path:
    path = Path(text)
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r} is no file's name")
    return path


def _base(text: str) -> str:
    if trouble := misses(text):
        raise argparse.ArgumentTypeError(trouble)
    return text


def _part(text: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = -1.0
    if not 0 <= part <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no part between 0 and 1")
    return part


def _gateway(text: str) -> Gateway:
    try:
        return gateway.parse(text)
    except ValueError as error:  # which argparse would show with the URL, and a password in it
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= _SECONDS_MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _instance(text: str) -> str:
    # A slash would be another level of the gateway's path.
    if not text.isprintable() or "/" in text or text in ("", ".", ".."):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name")
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of sessions")
    return int(text)


_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "--socket": {
            "metavar": "PATH",
            "type": Path,
            "default": Path("/run/qmail-popup/sidecar.sock"),
            "help": "where popups connect (%(default)s)",
        },
        "--spool": {
            "metavar": "DIR",
            "type": Path,
            "default": Path("/var/spool/qmail-popup"),
            "help": "where popups leave what they cannot send (%(default)s)",
        },
        "--state": {
            "metavar": "FILE",
            "type": _resolved,
            "default": "/var/lib/qmail-popup/state.sqlite",
            "help": "totals, and the identities that were counted (%(default)s)",
        },
        "--listen": {
            "metavar": "HOST:PORT",
            "type": _address,
            "default": ("127.0.0.1", 9110),
            "help": "where /metrics is served (127.0.0.1:9110)",
        },
        "--tls-cert": {
            "metavar": "FILE",
            "type": Path,
            "help": "serve /metrics over TLS with this certificate",
        },
        "--tls-key": {"metavar": "FILE", "type": Path, "help": "and this key"},
        "--tls-client-ca": {
            "metavar": "FILE",
            "type": Path,
            "help": "to those only whose certificate this authority signed",
        },
        "--push": {
            "metavar": "URL",
            "type": _gateway,
            "help": "push to this Pushgateway, as http://HOST[:PORT]",
        },
        "--push-interval": {
            "metavar": "SECONDS",
            "type": _seconds,
            "default": 15.0,
            "help": "how often to push, and to write the textfile (15)",
        },
        "--push-credentials": {
            "metavar": "FILE",
            "type": Path,
            "help": "user:password for the gateway, in the file's first line",
        },
        "--instance": {
            "metavar": "NAME",
            "type": _instance,
            "help": "whose group it is on the gateway (the host's name)",
        },
        "--delete-group": {
            "action": "store_true",
            "help": "remove that group from the gateway, for a host that retires, and end",
        },
        "--once": {
            "action": "store_true",
            "help": "count and push what is in the spool, for as long as anything comes, and end",
        },
        "--textfile": {
            "metavar": "FILE",
            "type": _file,
            "help": "write all metrics to this file as well, for node_exporter",
        },
        "--sessions-limit": {"metavar": "N", "type": _count, "help": "what tcpserver's -c says, for alerts"},
        "--json-log": {"action": "store_true", "help": "write a line of JSON for each session to stdout"},
        "--user-names": {
            "choices": USER_NAMES,
            "default": "hash",
            "help": "what log and spans tell of user names (%(default)s)",
        },
        "--client-addresses": {
            "choices": CLIENT_ADDRESSES,
            "default": "plain",
            "help": "what log and spans tell of client addresses (%(default)s)",
        },
        "--otlp": {
            "metavar": "URL",
            "type": _base,
            "help": "send spans there: a base, as in OTEL_EXPORTER_OTLP_ENDPOINT, which does as well",
        },
        "--otlp-metrics": {"action": "store_true", "help": "send the counters there too"},
        "--sample-accepted": {
            "metavar": "PART",
            "type": _part,
            "default": 1.0,
            "help": "of the sessions with an accepted login, send that part (%(default)s)",
        },
        "--reset-state": {"action": "store_true", "help": "move the state aside and begin anew"},
    }
)
