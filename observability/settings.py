"""The command line, and the environment's OTLP variables, as one immutable value.

A bad option, or one without effect, is reported in one line, with status 2. Imports nothing slow, so that
--version and mistakes are answered at once.
"""

import argparse
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from observability.errors import UnusableError
from observability.options import inspection, kinds, table
from observability.options.inspection import Inspection
from observability.options.kinds import TLS, Gateway

PROGRAM = "qmail-popup-sidecar"

_OTLP = "OTEL_EXPORTER_OTLP_"
_OTHER_SIGNALS = (f"{_OTLP}METRICS_", f"{_OTLP}LOGS_")
_PROTOCOL = "http/protobuf"


class Settings(NamedTuple):
    """The operator's settings."""

    socket: Path
    spool: Path
    state: Path  # resolved: files that belong to the store are beside it, not beside a link
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
    """Parse argv; SystemExit, with status 2 if it is wrong. UnusableError for a bad environment."""
    parser = _Parser(
        prog=PROGRAM,
        description="Collect and export qmail-popup's metrics.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version}")
    for name, option in {**table.OPTIONS, **inspection.OPTIONS}.items():
        parser.add_argument(name, **option)
    given = vars(parser.parse_args(argv))
    spans = _spans_wanted(given.get("otlp"), environ)
    if mistake := _mistake(given, has_otlp=spans or "otlp_metrics" in given):
        parser.error(mistake)
    return _settings(given, environ, otlp_spans=spans)


def _settings(given: Mapping[str, Any], environ: Mapping[str, str], *, otlp_spans: bool) -> Settings:
    values = {"instance": socket.gethostname(), **table.DEFAULTS, **given}
    host, port = values.pop("listen")
    certificate, key, client_ca = (
        values.pop(name, None) for name in ("tls_cert", "tls_key", "tls_client_ca")
    )
    values["otlp_metrics"] = values["otlp_metrics"] and not _is_switched_off("METRICS", environ)
    tls = TLS(certificate, key, client_ca) if certificate else None
    wanted = Inspection(**{name: values.pop(name) for name in Inspection._fields if name in values})
    return Settings(host=host, port=port, tls=tls, otlp_spans=otlp_spans, inspection=wanted, **values)


def _mistake(given: Mapping[str, Any], *, has_otlp: bool) -> str:
    """Return what is wrong with the combination of options, "" if nothing."""
    has = {*given, "otlp"} if has_otlp else {*given}
    for name, needs in table.NEEDS.items():
        if name in given and not has & needs:
            return f"{_option(name)} has no effect without {' or '.join(sorted(map(_option, needs)))}"
    for alone, others in table.ALONE.items():
        for name in given if alone in given else ():
            if name not in {alone, *others}:
                return f"{_option(name)} has no effect with {_option(alone)}"
    return _read_twice(given.get("read_log", ())) or _unusable_spool(given)


def _unusable_spool(given: Mapping[str, Any]) -> str:
    """Return that --spool is no directory, unless --check-config was asked, which says it with the others."""
    if "spool" in given and "check_config" not in given and kinds.is_in_the_way(given["spool"]):
        return f"--spool {given['spool']} is not a directory"
    return ""


def _read_twice(logs: Sequence[Path]) -> str:
    """Return which log would be counted twice, if any."""
    for number, log in enumerate(logs):
        for other in logs[:number]:
            if log == other or log in other.parents or other in log.parents:
                return (
                    f"--read-log {log} and --read-log {other} are the same log, which would be counted twice"
                )
    return ""


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _spans_wanted(base: str | None, environ: Mapping[str, str]) -> bool:
    """Whether spans are enabled; UnusableError if environ asks for something OTLP cannot do here."""
    asked = {name: value for name, value in environ.items() if name.startswith(_OTLP) and value}
    for name, value in asked.items():
        if name.endswith("_ENDPOINT"):
            try:
                kinds.collector(value)
            except ValueError as error:
                raise UnusableError(f"{name}: {error}") from None
        if name.endswith("_PROTOCOL") and value != _PROTOCOL and "_LOGS_" not in name:
            raise UnusableError(f"{name} is {value!r}: the sidecar supports only {_PROTOCOL}")
    if _is_switched_off("TRACES", environ):
        return False
    return bool(base) or any(not name.startswith(_OTHER_SIGNALS) for name in asked)


def _is_switched_off(signal: str, environ: Mapping[str, str]) -> bool:
    """Whether environ disables a signal (TRACES, METRICS), which overrides everything else."""
    words = {"OTEL_SDK_DISABLED": "true", f"OTEL_{signal}_EXPORTER": "none"}
    return any(environ.get(name, "").lower() == word for name, word in words.items())
