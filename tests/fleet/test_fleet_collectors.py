"""The Collectors' configurations: it takes no Collector to see that their parts, and the tiers, fit together.

Names of components and options were read in the Collector's own documents; what is held here is what would
break when one file, or the spans, change without the others.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from observability.arrivals.parsing import Event, parse
from observability.event import ENDS, build
from observability.otlp.spans import Spans
from observability.privacy import Privacy
from tests.support.descriptors import CHECKOUT
from tests.support.sidecar import REJECTED, fields

_DIRECTORY = CHECKOUT / "deploy/otel-collector"
_FILES = sorted(_DIRECTORY.glob("*.yaml"))
_SAMPLING = ("collector.yaml", "fleet-samplers.yaml")
_KINDS = ("receivers", "processors", "exporters")

Yaml = dict[str, Any]


def _load(name: str) -> Yaml:
    loaded: Yaml = yaml.safe_load((_DIRECTORY / name).read_text(encoding="utf-8"))
    return loaded


def _policies(name: str) -> dict[str, Yaml]:
    """Return the settings of each policy by its type."""
    policies = _load(name)["processors"]["tail_sampling"]["policies"]
    return {policy["type"]: policy[policy["type"]] for policy in policies}


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("kind", _KINDS)
def test_every_component_is_defined_and_used(file: Path, kind: str) -> None:
    """A Collector refuses to start over one that is not defined, and says nothing of one that is not used."""
    loaded = _load(file.name)
    used = {name for pipeline in loaded["service"]["pipelines"].values() for name in pipeline.get(kind, ())}
    assert set(loaded.get(kind, {})) == used


@pytest.mark.parametrize("name", _SAMPLING)
def test_what_is_kept_is_told_by_the_spans(name: str) -> None:
    """The attribute is one that a refused session has, with a value among those that are kept."""
    policy = _policies(name)["string_attribute"]
    event = parse(build(fields(REJECTED)).rstrip(b"\0"))
    assert isinstance(event, Event)
    made = Spans(Resource({}), InstrumentationScope("test"), Privacy("off", "off", b""))
    session, *_ = made.of(event)
    assert session.attributes
    assert "rejected" == session.attributes[policy["key"]]
    assert {*ENDS} - {"accepted"} == set(policy["values"])


@pytest.mark.parametrize("name", _SAMPLING)
def test_a_sampler_holds_what_it_waits_for(name: str) -> None:
    """All traces of decision_wait fit, or refusals would go before they are decided on."""
    sampling = _load(name)["processors"]["tail_sampling"]
    waits = int(sampling["decision_wait"].removesuffix("s"))
    assert sampling["num_traces"] >= waits * sampling.get("expected_new_traces_per_sec", 0)
    assert min(sampling["decision_cache"].values()) >= 10 * sampling["num_traces"]


def test_a_fleet_keeps_what_a_single_collector_keeps() -> None:
    """Only the share of accepted sessions is another."""
    alone, fleet = (_policies(name) for name in _SAMPLING)
    assert list(alone) == list(fleet)
    assert [alone[kind] for kind in alone if kind != "probabilistic"] == [
        fleet[kind] for kind in fleet if kind != "probabilistic"
    ]


def test_the_tiers_meet() -> None:
    """The agents send each trace to one sampler, on the port where that one listens, and in its protocol."""
    balancing = _load("fleet-agents.yaml")["exporters"]["loadbalancing"]
    (protocol,) = _load("fleet-samplers.yaml")["receivers"]["otlp"]["protocols"].items()
    assert "traceID" == balancing["routing_key"]
    assert ["otlp"] == list(balancing["protocol"])  # which is gRPC
    assert ("grpc", f"0.0.0.0:{balancing['resolver']['dns']['port']}") == (
        protocol[0],
        protocol[1]["endpoint"],
    )
