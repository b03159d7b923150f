"""The sidecar's options: defaults, and one line for what makes no sense."""

import socket
from pathlib import Path

import pytest

from observability.prometheus.endpoint import TLS
from observability.pushgateway import group as gateway
from observability.settings import Settings, parse


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
        json_log=False,
        user_names="hash",
        client_addresses="plain",
        otlp=None,
        otlp_metrics=False,
        sample_accepted=1.0,
        reset_state=False,
    )
    assert expected == parse([], "1.2.3")


def test_everything_may_be_said() -> None:
    """Each option has its place."""
    words = (
        "--socket /s --spool /p --state /f --listen [::1]:0 --tls-cert /c --tls-key /k --tls-client-ca /a"
        " --push http://gateway:9091 --push-interval 2.5 --push-credentials /u --instance mx --delete-group"
        " --textfile /t"
        " --sessions-limit 40 --json-log --user-names off --client-addresses prefix --reset-state"
        " --otlp http://collector:4318 --otlp-metrics --sample-accepted 0.1"
    )
    expected = Settings(
        socket=Path("/s"),
        spool=Path("/p"),
        state=Path("/f"),
        host="::1",
        port=0,
        tls=TLS(Path("/c"), Path("/k"), Path("/a")),
        push=gateway.parse("http://gateway:9091"),
        push_interval=2.5,
        push_credentials=Path("/u"),
        instance="mx",
        delete_group=True,
        once=False,
        textfile=Path("/t"),
        sessions_limit=40,
        json_log=True,
        user_names="off",
        client_addresses="prefix",
        otlp="http://collector:4318",
        otlp_metrics=True,
        sample_accepted=0.1,
        reset_state=True,
    )
    assert expected == parse(words.split(), "1.2.3")


@pytest.mark.parametrize(
    "words",
    [
        "--listen 9110",
        "--listen :9110",
        "--listen localhost:",
        "--listen localhost:65536",
        "--listen localhost:-1",
        "--listen localhost:http",
        "--sessions-limit 0",
        "--sessions-limit -1",
        "--sessions-limit many",
        "--tls-cert /c",
        "--tls-key /k",
        "--tls-client-ca /a",
        "--push gateway:9091",
        "--push http://bob:geheim@gateway:9091",
        "--push-interval 0",
        "--push-interval nan",
        "--push-interval often",
        "--push-credentials /u",
        "--instance a/b",
        "--delete-group",
        "--once",
        "--once --push http://gateway --textfile /t",
        "--once --push http://gateway --delete-group",
        "--push http://gateway:0",
        "--otlp http://collector:4318?x=1",
        "--otlp http://collector:4318#a",
        "--instance .",
        "--instance ..",
        "--textfile=",
        "--textfile /",
        "--user-names none",
        "--client-addresses all",
        "--sock /s",
        "--nonsense",
        "argument",
        "--socket",
    ],
)
def test_what_makes_no_sense_is_one_line_and_status_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the program and the option, and nothing goes to stdout."""
    with pytest.raises(SystemExit) as ended:
        parse(words.split(), "1.2.3")
    said = capsys.readouterr()
    assert (2, "") == (ended.value.code, said.out)
    assert said.err.startswith("qmail-popup-sidecar: ")
    assert 1 == len(said.err.splitlines())
    assert "geheim" not in said.err


def test_the_version_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, with status 0."""
    with pytest.raises(SystemExit) as ended:
        parse(["--version"], "1.2.3")
    assert (0, "qmail-popup-sidecar 1.2.3\n") == (ended.value.code, capsys.readouterr().out)


@pytest.mark.parametrize("words", [["--nope\nx"], ["--otlp", "http://collector:4318/a b"]])
def test_what_is_told_stays_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever was typed."""
    with pytest.raises(SystemExit) as ended:
        parse(words, "1.2.3")
    assert (2, 1) == (ended.value.code, len(capsys.readouterr().err.splitlines()))


def test_a_state_behind_a_loop_of_links_is_no_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is told as any other option that makes no sense; a link that leads somewhere is followed."""
    loop, link = tmp_path / "loop", tmp_path / "link"
    loop.symlink_to(loop)
    link.symlink_to(tmp_path)
    assert tmp_path / "state" == parse(["--state", f"{link}/state"], "1.2.3").state
    with pytest.raises(SystemExit) as ended:
        parse(["--state", f"{loop}/state"], "1.2.3")
    assert (2, 1) == (ended.value.code, len(capsys.readouterr().err.splitlines()))
