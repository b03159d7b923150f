"""The rules by themselves: programs take them, and a person finds the way from an alert to what to do."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.descriptors import CHECKOUT
from tests.support.programs import need
from tests.support.promtool import RULES, run

RUNBOOKS = CHECKOUT / "dashboards" / "runbooks.md"
DEPLOY = CHECKOUT / "deploy"
FILES = (RULES / "recording.yml", RULES / "alerts.yml")

# Operators route and silence by these names: they are a promise.
NAMES = [
    *("AuthRejectSpike", "AuthAllFailing", "InstanceRejectOutlier", "SubprogramFailing", "TlsFailing"),
    *("SessionsBroken", "PlaintextLogins", "TrafficAbsent", "SessionsNearLimit", "TelemetryLoss"),
    *("SpoolGrowing", "SpansDropped", "PushStale", "MetricsDoubled", "SidecarDown", "MetricsAbsent"),
    *("SessionsStuck", "CertificateExpiring"),
]

LOG = "/var/log/qmail-popup/pop3/current"
# The last but one tries to pass for another's record, by way of its name.
RECORDS = """\
@4000000065 qmail-popup: pid 4711 Reject::AUTH::User P:POP3S S:192.0.2.7:client.example.net ?~ 'bob'
@4000000065 qmail-popup: pid 4712 Accept::AUTH::Apop P:POP3 S:192.0.2.7:unknown ?~ 'it's me ?~ 'x'
@4000000065 qmail-popup: pid 4713 Reject::AUTH::User P:POP3 S:2001:db8::1:unknown ?~ 'x S:9.9.9.9:h ?~ 'y'
@4000000065 qmail-popup: pid 4714 Reject::STLS::Any P:POP3 S:2001:db8::1:unknown ?~ 'unknown'
"""


def _rules(path: Path) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


ALERTS = list(_rules(RULES / "alerts.yml"))


def _blocks(language: str) -> list[str]:
    """Return what stands in the runbooks' blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", RUNBOOKS.read_text(encoding="utf-8"), re.DOTALL)


def test_promtool_takes_the_rules() -> None:
    """Both files parse, without a warning."""
    assert "" == run("check", "rules", "--lint=all", "--lint-fatal", *FILES)


def test_vmalert_takes_the_rules() -> None:
    """VictoriaMetrics' own check takes the same files."""
    (vmalert,) = need("vmalert")
    command = [vmalert, "-dryRun", *(f"-rule={file}" for file in FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize("cases", sorted((RULES / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_cases_hold(cases: Path) -> None:
    """Each alert fires, does not fire yet, and stays quiet, as its cases say."""
    assert "" == run("test", "rules", cases)


def test_alerts_are_those_that_were_promised() -> None:
    """The set of names is the operators', and none comes twice."""
    assert sorted(f"QmailPopup{name}" for name in NAMES) == sorted(rule["alert"] for rule in ALERTS)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_a_person_needs(rule: dict[str, Any]) -> None:
    """How bad, what, in figures, and where to read on, in a section that exists."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    assert "$value" in rule["annotations"]["description"]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.*)$", (CHECKOUT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert [rule["alert"]] == [heading for heading in headings if heading.lower() == anchor]


def test_each_alert_has_cases_in_which_it_fires() -> None:
    """No alert is without a case of its own."""
    texts = "".join(path.read_text(encoding="utf-8") for path in (RULES / "tests").glob("*.yml"))
    fired = set(re.findall(r'alertname="QmailPopup(\w+)"', texts))
    assert sorted(NAMES) == sorted(fired)


def test_each_threshold_is_used_and_has_its_reason() -> None:
    """All that rules name exist in the one place, all that exist are used, each below a comment."""
    text = FILES[0].read_text(encoding="utf-8")
    stated = re.findall(r"- record: global:qmail_popup_(\w+):threshold", text)
    used = re.findall(r"scalar\(global:qmail_popup_(\w+):threshold\)", text + FILES[1].read_text())
    assert sorted(stated) == sorted(set(used))
    reasons = re.findall(r"# .*\n      - record: global:\w+:threshold\n        expr: .*\n", text)
    assert len(stated) == sum(reason.count("- record:") for reason in reasons)


def test_names_are_level_metric_and_operations() -> None:
    """What is left of a recorded series' labels stands in its level; job is always left, or all are gone."""
    for rule in _rules(FILES[0]):
        level, metric, operations = rule["record"].split(":")
        assert re.fullmatch(r"global|(job|instance)(_(method|protocol|outcome|result|back|loss))*", level)
        assert re.fullmatch(r"(qmail_popup|push_time_seconds|up)\w*", metric)
        assert re.fullmatch(r"[a-z][a-z0-9_]*", operations)


def test_rules_are_evaluated_at_a_minute() -> None:
    """Each group says so itself, whatever a server does with others."""
    groups = [group for file in FILES for group in yaml.safe_load(file.read_text())["groups"]]
    assert {"1m"} == {group["interval"] for group in groups}


def test_no_rule_reads_raw_samples_for_long() -> None:
    """Ranges of more than an hour would be read for each of ten thousand hosts at each evaluation."""
    for file in FILES:
        for rule in _rules(file):
            ranges = re.findall(r"\[(\d+)([a-z])", rule["expr"])
            assert [] == [found for found in ranges if int(found[0]) > {"m": 60, "h": 1}.get(found[1], 0)]


def test_queries_of_the_runbooks_are_valid(tmp_path: Path) -> None:
    """Each can be pasted as it stands."""
    recorded = [{"record": "x", "labels": {"n": str(n)}, "expr": q} for n, q in enumerate(_blocks("promql"))]
    assert len(recorded) > len(NAMES)
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": recorded}]}), encoding="utf-8")
    assert "" == run("check", "rules", file)


def test_commands_of_the_runbooks_find_records(tmp_path: Path) -> None:
    """Each command on the log of descriptor 5 finds something among records of any kind."""
    commands = [block for block in _blocks("sh") if LOG in block and "tai64n" not in block]
    assert len(commands) > 5
    assert [] == [command for command in commands if not _output(command, tmp_path).strip()]


def test_addresses_and_names_are_read_as_they_are(tmp_path: Path) -> None:
    """The commands cut a record where it is cut, whatever a client put into its name."""
    addresses, names = [_output(block, tmp_path).splitlines() for block in _blocks("sh")[:2]]
    assert ["192.0.2.7", "2001:db8::1"] == sorted(line.split()[1] for line in addresses)
    assert ["bob", "x S:9.9.9.9:h ?~ 'y"] == sorted(line.split(None, 1)[1] for line in names)


def _output(command: str, directory: Path) -> str:
    log = directory / "current"
    log.write_text(RECORDS, encoding="utf-8")
    command = command.replace(LOG, str(log))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "" == done.stderr
    return done.stdout


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """Laid out as the file says, with hosts and rules beside it."""
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "etc")
    (tmp_path / "etc" / "rules").mkdir()
    for file in FILES:
        shutil.copy(file, tmp_path / "etc" / "rules")
    assert "" == run("check", "config", tmp_path / "etc" / "prometheus.yml")


def test_alertmanager_takes_its_configuration() -> None:
    """Its own check takes the file, and each severity has a route."""
    (amtool,) = need("amtool")
    config = DEPLOY / "alertmanager" / "alertmanager.yml"
    checked = subprocess.run([amtool, "check-config", config], capture_output=True, text=True, check=False)
    assert 0 == checked.returncode, checked.stdout + checked.stderr
    routed = {"critical": "pager", "warning": "postmaster", "info": "nobody"}
    assert routed == {severity: _route(amtool, config, severity) for severity in routed}


def _route(amtool: str, config: Path, severity: str) -> str:
    command = [amtool, "config", "routes", "test", f"--config.file={config}", f"severity={severity}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
