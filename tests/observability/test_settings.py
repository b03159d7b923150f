"""The sidecar's options: defaults, and one line for what makes no sense."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from observability.errors import UnusableError
from observability.options import kinds
from observability.options.inspection import Inspection
from observability.options.kinds import TLS
from observability.settings import Settings, parse
from tests.support.descriptors import CHECKOUT


def test_nothing_has_to_be_said() -> None:
    """The defaults are the paths of a packaged installation."""
    expected = Settings(
        socket=Path("/run/qmail-popup/sidecar.sock"),
        spool=Path("/var/spool/qmail-popup"),
        state=Path("/var/lib/qmail-popup/state.sqlite"),
        host="127.0.0.1",
        port=9110,
        tls=None,
        push=None,
        push_interval=15.0,
        push_credentials=None,
        instance=socket.gethostname(),
        delete_group=False,
        once=False,
        textfile=None,
        sessions_limit=None,
        read_log=(),
        read_log_from="end",
        refusal_seconds=10.0,
        json_log=False,
        user_names="hash",
        client_addresses="plain",
        otlp=None,
        otlp_spans=False,
        otlp_metrics=False,
        sample_accepted=1.0,
        reset_state=False,
    )
    assert expected == parse([], {}, "1.2.3")


def test_everything_may_be_said() -> None:
    """Each option has its place."""
    words = (
        "--socket /s --spool /p --state /f --listen [::1]:0 --tls-cert /c --tls-key /k --tls-client-ca /a"
        " --push http://gateway:9091 --push-interval 2.5 --push-credentials /u --instance mx"
        " --textfile /t.prom --refusal-seconds 20 --read-log /l1 --read-log /l2 --read-log-from start"
        " --sessions-limit 40 --json-log --user-names off --client-addresses prefix"
        " --otlp http://collector:4318 --otlp-metrics --sample-accepted 0.1"
    )
    expected = Settings(
        socket=Path("/s"),
        spool=Path("/p"),
        state=Path("/f"),
        host="::1",
        port=0,
        tls=TLS(Path("/c"), Path("/k"), Path("/a")),
        push=kinds.gateway("http://gateway:9091"),
        push_interval=2.5,
        push_credentials=Path("/u"),
        instance="mx",
        delete_group=False,
        once=False,
        textfile=Path("/t.prom"),
        sessions_limit=40,
        read_log=[Path("/l1"), Path("/l2")],
        read_log_from="start",
        refusal_seconds=20.0,
        json_log=True,
        user_names="off",
        client_addresses="prefix",
        otlp="http://collector:4318",
        otlp_spans=True,
        otlp_metrics=True,
        sample_accepted=0.1,
        reset_state=False,
    )
    assert expected == parse(words.split(), {}, "1.2.3")


@pytest.mark.parametrize(
    "words",
    [
        "--listen 9110",
        "--sessions-limit 0",
        "--tls-cert /c",
        "--tls-key /k",
        "--tls-client-ca /a",
        "--push gateway:9091",
        "--push http://bob:geheim@gateway:9091",
        "--push http://gateway --push-interval 0",
        "--refusal-seconds 0",
        "--push-interval 5",
        "--instance mx",
        "--user-names plain",
        "--client-addresses off",
        "--sample-accepted 0.5",
        "--spool=",
        "--socket=",
        "--state=",
        "--push-credentials /u",
        "--push http://gateway --instance a/b",
        "--delete-group",
        "--once",
        "--once --push http://gateway --textfile /t.prom",
        "--once --push http://gateway --reset-state",
        "--reset-state --json-log",
        "--once --push http://gateway --listen localhost:0",
        "--once --push http://gateway --delete-group",
        "--delete-group --push http://gateway --spool /p",
        "--push http://gateway:0",
        "--otlp http://collector:4318?x=1",
        "--otlp http://collector:4318#a",
        "--spool /dev/null",
        "--once --push http://gateway --spool /dev/null",
        "--textfile=",
        "--textfile /dev/full",
        "--json-log --user-names none",
        "--json-log --client-addresses all",
        "--sock /s",
        "--nonsense",
        "argument",
        "--socket",
    ],
)
def test_what_makes_no_sense_is_one_line_and_status_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the program and the option, and nothing goes to stdout."""
    with pytest.raises(SystemExit) as ended:
        parse(words.split(), {}, "1.2.3")
    said = capsys.readouterr()
    assert (2, "") == (ended.value.code, said.out)
    assert said.err.startswith("qmail-popup-sidecar: ")
    assert 1 == len(said.err.splitlines())
    assert "geheim" not in said.err


def test_the_version_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, with status 0."""
    with pytest.raises(SystemExit) as ended:
        parse(["--version"], {}, "1.2.3")
    assert (0, "qmail-popup-sidecar 1.2.3\n") == (ended.value.code, capsys.readouterr().out)


@pytest.mark.parametrize("words", [["--nope\nx"], ["--otlp", "http://collector:4318/a b"]])
def test_what_is_told_stays_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever was typed."""
    with pytest.raises(SystemExit) as ended:
        parse(words, {}, "1.2.3")
    assert (2, 1) == (ended.value.code, len(capsys.readouterr().err.splitlines()))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--instance mx", "--instance has no effect without --otlp or --push"),
        ("--once --push http://g --json-log", "--json-log has no effect with --once"),
        ("--textfile /dev/full", "argument --textfile: '/dev/full' does not end in .prom, and"),
        ("--spool=", "argument --spool: the path is empty"),
        ("--spool /dev/null", "--spool /dev/null is not a directory"),
        ("--read-log-from start", "--read-log-from has no effect without --read-log"),
        ("--read-log /l --read-log /l/current", "--read-log /l/current and --read-log /l are the same log"),
    ],
)
def test_the_line_names_the_option(words: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And says what is wrong with it."""
    with pytest.raises(SystemExit):
        parse(words.split(), {}, "1.2.3")
    assert capsys.readouterr().err.startswith(f"qmail-popup-sidecar: {expected}")


def test_an_option_that_the_environment_gives_effect_to_is_taken() -> None:
    """Where OpenTelemetry's own variables ask for spans, what is said of spans makes sense."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    settings = parse(["--sample-accepted", "0.5", "--user-names", "off"], environ, "1.2.3")
    assert (True, 0.5, "off") == (settings.otlp_spans, settings.sample_accepted, settings.user_names)


@pytest.mark.parametrize(
    ("words", "environ", "expected"),
    [
        ("", {}, (False, False)),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector"}, (True, False)),
        ("", {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector"}, (False, False)),
        ("--otlp http://c --otlp-metrics", {}, (True, True)),
        ("--otlp http://c --otlp-metrics", {"OTEL_SDK_DISABLED": "true"}, (False, False)),
        ("--otlp http://c --otlp-metrics", {"OTEL_TRACES_EXPORTER": "none"}, (False, True)),
        ("--otlp http://c --otlp-metrics", {"OTEL_METRICS_EXPORTER": "none"}, (True, False)),
        ("--otlp http://c", {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, (True, False)),
    ],
)
def test_what_is_sent_over_otlp(words: str, environ: dict[str, str], expected: tuple[bool, bool]) -> None:
    """Options ask for it, variables too, and a variable that switches a signal off goes before both."""
    settings = parse(words.split(), environ, "1.2.3")
    assert expected == (settings.otlp_spans, settings.otlp_metrics)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://joe:s3cret@collector", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "'grpc': the sidecar supports only http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "'http/json'"),
    ],
)
def test_what_the_environment_asks_for_and_cannot_be_done(name: str, value: str, expected: str) -> None:
    """The variable is named, and no password is repeated."""
    with pytest.raises(UnusableError, match=f"^{name}.*{expected}") as refused:
        parse([], {name: value}, "1.2.3")
    assert "s3cret" not in str(refused.value)


def test_nothing_heavy_is_loaded_for_the_command_line() -> None:
    """A mistake in it, and --version, are answered before any library is loaded."""
    script = "import sys, observability.settings; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "prometheus_client",
        "opentelemetry",
        "requests",
        "h11",
        "pythonjsonlogger",
        "sqlite3",
        "asyncio",
    }
    assert set() == heavy & {name.partition(".")[0] for name in loaded}


def test_what_looks_and_serves_nothing_has_options_of_its_own() -> None:
    """Thresholds may be given several times."""
    words = (
        "--status --listen mx:1 --warning sessions=5 --warning spool_bytes=1e6 --critical failed_share=0.5"
    )
    warning, critical = [("sessions", 5.0), ("spool_bytes", 1e6)], [("failed_share", 0.5)]
    assert (
        Inspection(status=True, warning=warning, critical=critical)
        == parse(words.split(), {}, "1").inspection
    )
    assert Inspection(check_config=True) == parse(["--check-config", "--json-log"], {}, "1").inspection


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--watch", "--watch has no effect without --status"),
        ("--warning sessions=5", "--warning has no effect without --status"),
        ("--status --push http://mx", "--push has no effect with --status"),
        ("--status --check-config", "--check-config has no effect with --status"),
        ("--status --json --critical sessions=5", "--json has no effect with --critical"),
        ("--status --warning sessions", "'' is not a number, 0 or greater"),
        ("--status --warning sessions=-1", "'-1' is not a number, 0 or greater"),
        ("--status --warning sessions=nan", "'nan' is not a number, 0 or greater"),
        ("--status --critical load=5", "'load=5' is not NAME=NUMBER with a NAME of failed_share, sessions"),
    ],
)
def test_what_makes_no_sense_to_look_at_is_told(
    words: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with all other options."""
    with pytest.raises(SystemExit) as ended:
        parse(words.split(), {}, "1.2.3")
    assert 2 == ended.value.code
    assert expected in capsys.readouterr().err
