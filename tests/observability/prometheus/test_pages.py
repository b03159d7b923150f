"""What stands at each address."""

import gzip

import h11
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from observability.prometheus.pages import Answer, Pages

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def answer(target: str, method: str = "GET", *, is_ready: bool = True, **headers: str) -> Answer:
    """Ask for target."""
    registry = CollectorRegistry()
    Gauge("answer", "Everything.", registry=registry).set(42)
    Counter("asked", "How often.", ["by"], registry=registry).labels("<b>").inc()
    Gauge("nothing", "Nothing.", registry=registry)
    told = [("Host", "mx"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    request = h11.Request(method=method, target=target, headers=told)
    others = {"/": lambda: Answer(200, [("Content-Type", "text/html")], b"<p>Hello.")}
    return Pages(registry, lambda: is_ready, others).answer(request)


def kind(found: Answer) -> str:
    """Return the type of a body, without its parameters."""
    return dict(found.headers)["Content-Type"].partition(";")[0]


@pytest.mark.parametrize(
    "target", ["/metrics", "http://mx:9110/metrics", "https://mx/metrics?", "HTTP://mx/metrics"]
)
def test_metrics_are_text(target: str) -> None:
    """To whoever asks for nothing in particular, by the path or by a whole URL."""
    found = answer(target)
    assert (200, "text/plain") == (found.status, kind(found))
    assert b"\nanswer 42.0\n" in found.body


def test_metrics_are_openmetrics_to_who_wants_it() -> None:
    """As Prometheus does when it keeps exemplars."""
    found = answer("/metrics", Accept=OPENMETRICS)
    assert (200, "application/openmetrics-text") == (found.status, kind(found))
    assert found.body.endswith(b"# EOF\n")


def test_metrics_are_compressed_to_who_takes_that() -> None:
    """The same text, and a header that says so."""
    found = answer("/metrics", Accept_Encoding="gzip")
    assert "gzip" == dict(found.headers)["Content-Encoding"]
    assert b"\nanswer 42.0\n" in gzip.decompress(found.body)


@pytest.mark.parametrize("target", ["/metrics?name[]=answer", "http://mx/metrics?name%5B%5D=answer"])
def test_some_metrics_are_shown_by_their_names(target: str) -> None:
    """Those that are asked for, and no others."""
    found = answer(target).body
    assert b"\nanswer 42.0\n" in found
    assert b"asked" not in found


def _request(method: str) -> h11.Request:
    return h11.Request(method=method, target="/metrics", headers=[("Host", "mx")])


def test_head_is_answered_as_get_is() -> None:
    """It is the server that leaves the body out."""
    registry = CollectorRegistry()
    Gauge("answer", "Everything.", registry=registry).set(42)
    shown = [Pages(registry, lambda: True, {}).answer(_request(method)) for method in ("GET", "HEAD")]
    assert shown[0] == shown[1]


def test_the_process_is_healthy_while_it_answers() -> None:
    """Whatever the store says."""
    assert 200 == answer("/-/healthy", is_ready=False).status


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
def test_it_is_ready_while_the_store_takes_commits(is_ready: bool, status: int) -> None:  # noqa: FBT001  pytest
    """A load balancer or a deployment waits for that."""
    assert status == answer("/-/ready", is_ready=is_ready).status


@pytest.mark.parametrize("target", ["/", "http://mx:9110", "http://mx:9110/"])
def test_other_pages_are_where_they_are_named(target: str) -> None:
    """By the path or by a whole URL."""
    found = answer(target)
    assert (200, "text/html", b"<p>Hello.") == (found.status, kind(found), found.body)


@pytest.mark.parametrize("target", ["/metrics/", "/metricsx", "//metrics", "http://[/metrics", "*"])
def test_there_is_nothing_else(target: str) -> None:
    """Any other path is not found."""
    assert 404 == answer(target).status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    """The refusal says what may be asked."""
    found = answer("/metrics", method)
    assert (405, "GET, HEAD") == (found.status, dict(found.headers)["Allow"])
