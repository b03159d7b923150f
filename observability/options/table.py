"""Tables of the options: names, value types, defaults, and valid combinations.

Contains no behaviour: settings.py parses a command line by these tables.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from observability.options import inspection, kinds
from observability.privacy import CLIENT_ADDRESSES, USER_NAMES

DEFAULT_SPOOL = Path("/var/spool/qmail-popup")


def _reader(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def reads(text: str) -> Any:  # noqa: ANN401  as argparse has it
        try:
            return read(text)
        except ValueError as error:  # argparse would show the text, and a password in it
            raise argparse.ArgumentTypeError(str(error)) from None

    return reads


def _taking(metavar: str, read: Callable[[str], Any], text: str) -> Mapping[str, Any]:
    return {"metavar": metavar, "type": _reader(read), "help": text.replace("%", "%%")}


def _flag(text: str) -> Mapping[str, Any]:
    return {"action": "store_true", "help": text}


def _word(words: tuple[str, ...], text: str) -> Mapping[str, Any]:
    return {"choices": words, "help": text}


DEFAULTS: Mapping[str, Any] = MappingProxyType(
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

OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "--socket": _taking("PATH", kinds.path, f"where popups connect ({DEFAULTS['socket']})"),
        "--spool": _taking(
            "DIR", kinds.path, f"where popups leave events that they cannot send ({DEFAULTS['spool']})"
        ),
        "--state": _taking(
            "FILE", kinds.resolved, f"totals, and which sessions were counted ({DEFAULTS['state']})"
        ),
        "--listen": _taking("HOST:PORT", kinds.address, "where /metrics is served (127.0.0.1:9110)"),
        "--tls-cert": _taking("FILE", kinds.path, "serve /metrics over TLS with this certificate"),
        "--tls-key": _taking("FILE", kinds.path, "private key for --tls-cert"),
        "--tls-client-ca": _taking(
            "FILE", kinds.path, "require client certificates signed by this authority"
        ),
        "--push": _taking("URL", kinds.gateway, "push to this Pushgateway, as http://HOST[:PORT]"),
        "--push-interval": _taking(
            "SECONDS", kinds.seconds, "how often to push, and to write the textfile (15)"
        ),
        "--push-credentials": _taking(
            "FILE", kinds.path, "file whose first line is user:password for the gateway"
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
            "for older popups: count refusals within this time as wrong passwords (10)",
        ),
        "--json-log": _flag("write a line of JSON for each session to stdout"),
        "--user-names": _word(USER_NAMES, "how log and spans show user names (hash)"),
        "--client-addresses": _word(CLIENT_ADDRESSES, "how log and spans show client addresses (plain)"),
        "--otlp": _taking(
            "URL", kinds.collector, "send spans to this base URL, like OTEL_EXPORTER_OTLP_ENDPOINT"
        ),
        "--otlp-metrics": _flag("send metrics over OTLP too"),
        "--sample-accepted": _taking(
            "PART", kinds.share, "fraction of the sessions with an accepted login to send, 0 to 1 (1.0)"
        ),
        "--reset-state": _flag("move the state aside, and exit"),
    }
)

NEEDS: Mapping[str, frozenset[str]] = MappingProxyType(
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
"""Options that have no effect unless one of these is given too."""

ALONE: Mapping[str, frozenset[str]] = MappingProxyType(
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
"""Options that do something other than serve, each with all options that still have an effect."""
