"""deploy/compose.yaml, as far as that goes without an engine: what it names exists and fits together."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compose import DEPLOY, Yaml, load, services, targets
from tests.support.descriptors import CHECKOUT
from tests.support.programs import need

_URL = re.compile(r"\bhttps?://([\w.-]+):\d+")
_VERSION = re.compile(r":v?\d+\.\d+\.\d+$")
_DATED = re.compile(r"^FROM debian:(bookworm-\d{8}-slim)(?: AS build)?$", re.MULTILINE)

SERVICES = services()
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def mounts(service: Yaml) -> Iterator[tuple[str, str]]:
    """Yield what a service mounts, and where."""
    for volume in service.get("volumes", []):
        source, target, *_ = volume.split(":")
        yield source, target


@each_service
def test_what_is_mounted_exists(service: Yaml) -> None:
    """A file of this checkout, which the service may only read, or a volume that is declared."""
    files = [volume for volume in service.get("volumes", []) if volume.startswith(".")]
    assert [] == [file for file in files if not (DEPLOY / file.partition(":")[0]).exists()]
    assert [] == [file for file in files if not file.endswith(":ro")]
    assert {source for source, _ in mounts(service) if source[0] != "."} <= load("compose.yaml")[
        "volumes"
    ].keys()


@each_service
def test_nobody_outside_reaches_it(service: Yaml) -> None:
    """Each port is on 127.0.0.1: the account and its password are known to all."""
    assert [] == [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]


@each_service
def test_it_has_no_more_rights_than_it_needs(service: Yaml) -> None:
    """Its image stays as it is, it has no capability, and it can get none."""
    assert (True, ["ALL"], ["no-new-privileges:true"]) == (
        service["read_only"],
        service["cap_drop"],
        service["security_opt"],
    )
    assert set() == service.keys() & {"privileged", "cap_add", "pid", "devices"}
    assert service.get("network_mode", "service:").startswith("service:")


@each_service
def test_its_image_has_a_version(service: Yaml) -> None:
    """The next start is of the same programs."""
    assert _VERSION.search(service["image"])


def test_both_stages_are_of_one_debian() -> None:
    """Of one day, and byte code is for the Python that runs it."""
    stages = _DATED.findall((DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    assert (2, 1) == (len(stages), len(set(stages)))


def test_ours_are_the_users_that_the_image_has() -> None:
    """The sidecar owns socket, spool and state; the popup is in its group, and owns the mail."""
    made = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert ["990", "990", "1000"] == re.findall(r"(?:--gid|--uid) (\d+)", made)
    for name in ("popup", "listener"):
        assert ("1000:1000", ["990"]) == (SERVICES[name]["user"], SERVICES[name]["group_add"])
    assert "990:990" == SERVICES["sidecar"]["user"]
    for name in ("popup", "listener", "sidecar"):
        volumes = [target for source, target in mounts(SERVICES[name]) if source[0] != "."]
        assert [] == [target for target in volumes if f" {target}" not in made]


def test_no_password_is_in_it() -> None:
    """The only one is the demo's, in a file of its own."""
    accounts = (DEPLOY / "compose/accounts").read_text(encoding="utf-8")
    named = [name for service in SERVICES.values() for name in service.get("environment", {})]
    assert [] == [name for name in named if re.search("PASSW|SECRET|TOKEN|KEY", name)]
    assert [["demo", "demo"]] == [line.split(":")[:2] for line in accounts.splitlines()]


def test_each_host_that_is_asked_is_a_service() -> None:
    """By URL or as a target; the others are asked by nobody, or on the host that they share."""
    files = [DEPLOY / "compose.yaml", *(DEPLOY / "compose").rglob("*.y*ml")]
    asked = {host for file in files for host in _URL.findall(_without_comments(file))} - {"127.0.0.1"}
    asked |= {target.partition(":")[0] for target in targets("compose/hosts/sidecar.yml")}
    own = {name for name, service in SERVICES.items() if "network_mode" not in service}
    assert own - {"popup", "listener", "grafana"} == asked


def _without_comments(file: Path) -> str:
    return re.sub(r"(?m)(?:^|\s)#.*$", "", file.read_text(encoding="utf-8"))


def test_prometheus_finds_the_others_on_its_own_host() -> None:
    """As its configuration has them, which is the one for any host; their ports are Prometheus' own."""
    prometheus = load("prometheus/prometheus.yml")
    jobs = (*prometheus["scrape_configs"], *prometheus["alerting"]["alertmanagers"])
    targets = {
        target for job in jobs for group in job.get("static_configs", []) for target in group["targets"]
    }
    assert {"127.0.0.1:9091", "127.0.0.1:9093"} == targets
    assert [f"{target}:{target[-4:]}" for target in sorted(targets)] == SERVICES["prometheus"]["ports"][1:]
    sharing = [
        name for name, service in SERVICES.items() if service.get("network_mode") == "service:prometheus"
    ]
    assert ["pushgateway", "alertmanager"] == sharing


def test_the_log_takes_the_way_to_the_collector() -> None:
    """The engine is told a port of this machine, and the Collector has it."""
    address = SERVICES["sidecar"]["logging"]["options"]["fluentd-address"]
    port = address.rpartition(":")[2]
    assert f"{address}:{port}" in SERVICES["collector"]["ports"]
    assert f"0.0.0.0:{port}" == collector()["receivers"]["fluentforward"]["endpoint"]


def collector() -> Yaml:
    """Return what the Collector makes of its two files."""
    first, second = (file.rpartition("/")[2] for file in SERVICES["collector"]["command"])
    assert ("collector.yaml", "compose.yaml") == (first, second)
    return _merged(load("otel-collector/collector.yaml"), load("compose/collector.yaml"))


def _merged(first: Yaml, second: Yaml) -> Yaml:
    shared = first.keys() & second.keys()
    both = {name: _merged(first[name], second[name]) for name in shared if isinstance(first[name], dict)}
    return {**first, **second, **both}


def test_the_collector_has_all_that_its_pipelines_name() -> None:
    """And it sends traces to the one store that is here, and the log to the other."""
    made = collector()
    for pipeline in made["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set() == set(names) - made[kind].keys()
    pipelines = made["service"]["pipelines"]
    leads = {name: made["exporters"][pipelines[name]["exporters"][0]].get("endpoint") for name in pipelines}
    assert {"traces": "http://tempo:4318", "logs": "http://loki:3100/otlp", "metrics": None} == leads


def test_the_log_has_the_labels_that_the_dashboards_select_by() -> None:
    """Those of the host in Prometheus: the job and the target that scrape it."""
    told = {item["key"]: item["value"] for item in collector()["processors"]["resource/host"]["attributes"]}
    loki = load("compose/loki.yaml")["limits_config"]["otlp_config"]
    (kept,) = loki["resource_attributes"]["attributes_config"]
    job, *_ = load("prometheus/prometheus.yml")["scrape_configs"]
    assert [told] == [
        {"job": job["job_name"], "instance": target} for target in targets("compose/hosts/sidecar.yml")
    ]
    assert ("index_label", [*told]) == (kept["action"], kept["attributes"])


def test_the_dashboards_have_what_they_ask() -> None:
    """A data source of each kind that they can choose among, and the directory that they are read from."""
    wanted = {
        variable["query"]
        for file in (CHECKOUT / "dashboards").glob("*.json")
        for variable in json.loads(file.read_text(encoding="utf-8"))["templating"]["list"]
        if variable["type"] == "datasource"
    }
    sources = load("compose/grafana/datasources/qmail-popup.yaml")["datasources"]
    assert wanted == {source["type"] for source in sources}
    (provider,) = load("compose/grafana/dashboards/qmail-popup.yaml")["providers"]
    assert ("../dashboards", provider["options"]["path"]) in mounts(SERVICES["grafana"])


@pytest.mark.parametrize(
    ("name", "checker"),
    [
        ("prometheus", ["promtool", "check", "config"]),
        ("alertmanager", ["amtool", "check-config"]),
    ],
)
def test_it_takes_its_configuration(name: str, checker: list[str], tmp_path: Path) -> None:
    """With all that is mounted in its place."""
    (program,) = need(checker[0])
    etc = Path(f"/etc/{name}")
    for source, target in mounts(SERVICES[name]):
        if Path(target).is_relative_to(etc):
            (tmp_path / Path(target).relative_to(etc)).symlink_to((DEPLOY / source).resolve())
    (option,) = [option for option in SERVICES[name]["command"] if option.startswith("--config.file=")]
    file = tmp_path / Path(option.partition("=")[2]).relative_to(etc)
    done = subprocess.run([program, *checker[1:], file], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    if name == "prometheus":
        assert "2 rule files found" in done.stdout
        assert (tmp_path / "hosts/sidecar.yml").exists()
