"""The command line, and what the environment says of OTLP, as one immutable value.

Owns the options' names, their defaults, and which of them go together. A bad one, or one that would have no
effect, is one clear line and status 2. Loads nothing that takes long: --version and a mistake are answered
at once.
"""

import argparse
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from observability.errors import UnusableError
from observability.options import inspection, kinds
from observability.options.inspection import Inspection
from observability.options.kinds import TLS, Gateway
from observability.privacy import CLIENT_ADDRESSES, USER_NAMES

PROGRAM = "qmail-popup-sidecar"
DEFAULT_SPOOL = Path("/var/spool/qmail-popup")

_OTLP = "OTEL_EXPORTER_OTLP_"
_OTHER_SIGNALS = (f"{_OTLP}METRICS_", f"{_OTLP}LOGS_")
_PROTOCOL = "http/protobuf"


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
    read_log: Sequence[Path]
    read_log_from: str
    refusal_seconds: float
    json_log: bool
    user_names: str
    client_addresses: str
    otlp: str | None
    otlp_spans: bool
    otlp_metrics: bool
    sample_accepted: float
    reset_state: bool
    inspection: Inspection = Inspection()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: {' '.join(message.split())}\n")


def parse(argv: Sequence[str], environ: Mapping[str, str], version: str) -> Settings:
    """Read argv; SystemExit, with status 2 where it makes no sense. UnusableError for a bad environment."""
    parser = _Parser(
        prog=PROGRAM,
        description="Count what qmail-popup does.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version}")
    for name, option in {**_OPTIONS, **inspection.OPTIONS}.items():
        parser.add_argument(name, **option)
    given = vars(parser.parse_args(argv))
    spans = _spans_wanted(given.get("otlp"), environ)
    if mistake := _mistake(given, has_otlp=spans or "otlp_metrics" in given):
        parser.error(mistake)
    return _settings(given, environ, otlp_spans=spans)


def _settings(given: Mapping[str, Any], environ: Mapping[str, str], *, otlp_spans: bool) -> Settings:
    values = {"instance": socket.gethostname(), **_DEFAULTS, **given}
    host, port = values.pop("listen")
    certificate, key, client_ca = (
        values.pop(name, None) for name in ("tls_cert", "tls_key", "tls_client_ca")
    )
    values["otlp_metrics"] = values["otlp_metrics"] and not _is_switched_off("METRICS", environ)
    tls = TLS(certificate, key, client_ca) if certificate else None
    wanted = Inspection(**{name: values.pop(name) for name in Inspection._fields if name in values})
    return Settings(host=host, port=port, tls=tls, otlp_spans=otlp_spans, inspection=wanted, **values)


def _mistake(given: Mapping[str, Any], *, has_otlp: bool) -> str:
    """Return what is wrong with the options together; nothing, where they make sense."""
    has = {*given, "otlp"} if has_otlp else {*given}
    for name, needs in _NEEDS.items():
        if name in given and not has & needs:
            return f"{_option(name)} has no effect without {' or '.join(sorted(map(_option, needs)))}"
    for alone, others in _ALONE.items():
        for name in given if alone in given else ():
            if name not in {alone, *others}:
                return f"{_option(name)} has no effect with {_option(alone)}"
    return _read_twice(given.get("read_log", ()))


def _read_twice(logs: Sequence[Path]) -> str:
    """Return which log would be counted twice, if any would."""
    for number, log in enumerate(logs):
        for other in logs[:number]:
            if log == other or log in other.parents or other in log.parents:
                return f"--read-log {log} and --read-log {other} are one log: it would be counted twice"
    return ""


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _spans_wanted(base: str | None, environ: Mapping[str, str]) -> bool:
    """Whether spans are asked for; UnusableError for what environ says of OTLP and cannot be done."""
    asked = {name: value for name, value in environ.items() if name.startswith(_OTLP) and value}
    for name, value in asked.items():
        if name.endswith("_ENDPOINT"):
            try:
                kinds.collector(value)
            except ValueError as error:
                raise UnusableError(f"{name}: {error}") from None
        if name.endswith("_PROTOCOL") and value != _PROTOCOL and "_LOGS_" not in name:
            raise UnusableError(f"{name} is {value!r}: the sidecar speaks {_PROTOCOL} only")
    if _is_switched_off("TRACES", environ):
        return False
    return bool(base) or any(not name.startswith(_OTHER_SIGNALS) for name in asked)


def _is_switched_off(signal: str, environ: Mapping[str, str]) -> bool:
    """Whether environ says that none of a signal (TRACES, METRICS) is sent, whatever else asks for it."""
    words = {"OTEL_SDK_DISABLED": "true", f"OTEL_{signal}_EXPORTER": "none"}
    return any(environ.get(name, "").lower() == word for name, word in words.items())


def _reader(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def reads(text: str) -> Any:  # noqa: ANN401  as argparse has it
        try:
            return read(text)
        except ValueError as error:  # which argparse would show with the text, and a password in it
            raise argparse.ArgumentTypeError(str(error)) from None

    return reads


def _taking(metavar: str, read: Callable[[str], Any], text: str) -> Mapping[str, Any]:
    return {"metavar": metavar, "type": _reader(read), "help": text.replace("%", "%%")}


def _flag(text: str) -> Mapping[str, Any]:
    return {"action": "store_true", "help": text}


def _word(words: tuple[str, ...], text: str) -> Mapping[str, Any]:
    return {"choices": words, "help": text}


_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "socket": Path("/run/qmail-popup/sidecar.sock"),
        "spool": DEFAULT_SPOOL,
        "state": Path("/var/lib/qmail-popup/state.sqlite"),
        "listen": ("127.0.0.1", 9110),
        "push": None,
        "push_interval": 15.0,
        "push_credentials": None,
        "delete_group": False,
        "once": False,
        "textfile": None,
        "sessions_limit": None,
        "read_log": (),
        "read_log_from": "end",
        "refusal_seconds": 10.0,
        "json_log": False,
        "user_names": "hash",
        "client_addresses": "plain",
        "otlp": None,
        "otlp_metrics": False,
        "sample_accepted": 1.0,
        "reset_state": False,
    }
)

_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "--socket": _taking("PATH", kinds.path, f"where popups connect ({_DEFAULTS['socket']})"),
        "--spool": _taking(
            "DIR", kinds.path, f"where popups leave what they cannot send ({_DEFAULTS['spool']})"
        ),
        "--state": _taking(
            "FILE", kinds.resolved, f"totals, and which sessions were counted ({_DEFAULTS['state']})"
        ),
        "--listen": _taking("HOST:PORT", kinds.address, "where /metrics is served (127.0.0.1:9110)"),
        "--tls-cert": _taking("FILE", kinds.path, "serve /metrics over TLS with this certificate"),
        "--tls-key": _taking("FILE", kinds.path, "and with this key"),
        "--tls-client-ca": _taking(
            "FILE", kinds.path, "and only to clients with a certificate of this authority"
        ),
        "--push": _taking("URL", kinds.gateway, "push to this Pushgateway, as http://HOST[:PORT]"),
        "--push-interval": _taking(
            "SECONDS", kinds.seconds, "how often to push, and to write the textfile (15)"
        ),
        "--push-credentials": _taking(
            "FILE", kinds.path, "file with user:password for the gateway in its first line"
        ),
        "--instance": _taking(
            "NAME", kinds.instance, "name of this host on the gateway and in OTLP (its host name)"
        ),
        "--delete-group": _flag("remove this host's group from the gateway, and exit"),
        "--once": _flag("count and push the events in the spool until no more arrive, and exit"),
        "--textfile": _taking("FILE", kinds.textfile, "write all metrics to this file, for node_exporter"),
        "--sessions-limit": _taking("N", kinds.sessions, "the limit given to tcpserver -c, for alerts"),
        "--read-log": {
            **_taking("PATH", kinds.resolved, "count the records of this log; may be given several times"),
            "action": "append",
        },
        "--read-log-from": _word(("end", "start"), "where to begin in a log that was not read before (end)"),
        "--refusal-seconds": _taking(
            "SECONDS",
            kinds.seconds,
            "for older popups: refusals within this time are wrong passwords (10)",
        ),
        "--json-log": _flag("write a line of JSON for each session to stdout"),
        "--user-names": _word(USER_NAMES, "how log and spans show user names (hash)"),
        "--client-addresses": _word(CLIENT_ADDRESSES, "how log and spans show client addresses (plain)"),
        "--otlp": _taking(
            "URL", kinds.collector, "send spans to this base URL, like OTEL_EXPORTER_OTLP_ENDPOINT"
        ),
        "--otlp-metrics": _flag("send metrics there too"),
        "--sample-accepted": _taking(
            "PART", kinds.share, "send this part of the sessions with an accepted login, 0 to 1 (1.0)"
        ),
        "--reset-state": _flag("move the state aside, and end"),
    }
)

# What has no effect unless one of these is given too.
_NEEDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "tls_cert": frozenset({"tls_key"}),
        "tls_key": frozenset({"tls_cert"}),
        "tls_client_ca": frozenset({"tls_cert"}),
        "push_credentials": frozenset({"push"}),
        "read_log_from": frozenset({"read_log"}),
        "delete_group": frozenset({"push"}),
        "once": frozenset({"push"}),
        "push_interval": frozenset({"push", "textfile"}),
        "instance": frozenset({"push", "otlp"}),
        "user_names": frozenset({"json_log", "otlp"}),
        "client_addresses": frozenset({"json_log", "otlp"}),
        "sample_accepted": frozenset({"otlp"}),
        **inspection.NEEDS,
    }
)
# What does something else than serve, and all that has an effect on it.
_ALONE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        **inspection.ALONE,
        "delete_group": frozenset({"push", "push_credentials", "instance"}),
        "reset_state": frozenset({"state"}),
        "once": frozenset(
            {
                *("push", "push_credentials", "push_interval", "instance"),
                *("spool", "state", "sessions_limit", "refusal_seconds", "check_config"),
            }
        ),
    }
)
