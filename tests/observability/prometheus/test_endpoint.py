"""/metrics over HTTP and HTTPS, and clients that are in no hurry."""

import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry, Gauge

from observability.errors import UnusableError
from observability.prometheus import endpoint
from observability.prometheus.endpoint import TLS, Endpoint
from tests.support.programs import need
from tests.support.sidecar import DEADLINE_SECONDS, eventually


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry with one number in it."""
    registry = CollectorRegistry()
    Gauge("answer", "Everything.", registry=registry).set(42)
    return registry


@pytest.fixture
def served(registry: CollectorRegistry) -> Iterator[Endpoint]:
    """Give an endpoint on a port that the kernel picked."""
    with closing(Endpoint("127.0.0.1", 0, registry)) as served:
        yield served


def get(served: Endpoint, path: str = "/metrics", **headers: str) -> tuple[int, str, bytes]:
    """Return status, content type and body."""
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=DEADLINE_SECONDS)
    with closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()


def test_metrics_are_served_as_text(served: Endpoint) -> None:
    """To whoever asks for nothing in particular."""
    status, kind, body = get(served)
    assert (200, "text/plain") == (status, kind.split(";")[0])
    assert b"\nanswer 42.0\n" in body


def test_openmetrics_is_served_to_who_wants_it(served: Endpoint) -> None:
    """As Prometheus does when it keeps exemplars."""
    status, kind, body = get(served, Accept="application/openmetrics-text;version=1.0.0")
    assert (200, "application/openmetrics-text") == (status, kind.split(";")[0])
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metricsx", "/favicon.ico"])
def test_there_is_nothing_else(served: Endpoint, path: str) -> None:
    """Any other path is not found."""
    assert 404 == get(served, path)[0]


def test_an_ipv6_address_is_served(registry: CollectorRegistry) -> None:
    """Its URL has the brackets that it needs."""
    with closing(Endpoint("::1", 0, registry)) as served:
        assert served.url.startswith("http://[::1]:")
        assert 200 == get(served)[0]


def test_a_port_that_is_taken_is_told(served: Endpoint, registry: CollectorRegistry) -> None:
    """In one line, with the address."""
    port = urlsplit(served.url).port
    assert port
    with pytest.raises(UnusableError, match=f"127.0.0.1:{port}.*in use"):
        Endpoint("127.0.0.1", port, registry)


def dial(served: Endpoint) -> socket.socket:
    """Connect and say nothing."""
    where = urlsplit(served.url)
    return socket.create_connection((where.hostname, where.port), timeout=DEADLINE_SECONDS)


def test_silent_clients_keep_nobody_from_being_served(served: Endpoint) -> None:
    """Each has a thread of its own, until there are too many; then who comes is sent away, not kept."""
    with ExitStack() as stack:
        for _ in range(endpoint.AT_ONCE - 1):
            stack.enter_context(dial(served))
        assert 200 == get(served)[0]
        for _ in range(endpoint.AT_ONCE):
            stack.enter_context(dial(served))
        late = stack.enter_context(dial(served))
        assert b"" == late.recv(1)
    assert eventually(lambda: is_served(served))


def is_served(served: Endpoint) -> bool:
    """Whether a scrape gets its answer, and not the door."""
    try:
        return get(served)[0] == 200
    except OSError:
        return False


def test_threads_that_cannot_be_had_cost_no_places(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has none to spare for a while, who scrapes later is served."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(endpoint.AT_ONCE):
            assert not is_served(served)
    assert is_served(served)


def test_a_slow_client_is_cut_off(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it sends a byte, it has so much time and no more."""
    monkeypatch.setattr(endpoint, "PATIENCE_SECONDS", 0.2)
    with closing(Endpoint("127.0.0.1", 0, registry)) as served, dial(served) as slow:
        slow.sendall(b"GET /met")
        assert b"" == slow.recv(1)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with an authority of our own, and what it signed for a server and for a client."""
    (openssl,) = need("openssl")
    made = tmp_path_factory.mktemp("certificates")
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = [*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2"]
    authority += ["-addext", "keyUsage=critical,keyCertSign"]  # Python 3.13 insists on it
    subprocess.run(authority, cwd=made, check=True, capture_output=True)
    for name in ("server", "client"):
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-days", "1", "-addext", "subjectAltName=IP:127.0.0.1"]
        signed += ["-addext", "basicConstraints=critical,CA:FALSE"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"]
        subprocess.run([*new, *files, *signed], cwd=made, check=True, capture_output=True)
    return made


def scrape(served: Endpoint, certificates: Path, certificate: str | None) -> int:
    """Scrape over TLS, with a certificate of our own or without; return the status."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if certificate:
        context.load_cert_chain(certificates / f"{certificate}.pem", certificates / f"{certificate}.key")
    netloc = urlsplit(served.url).netloc
    with closing(
        http.client.HTTPSConnection(netloc, context=context, timeout=DEADLINE_SECONDS)
    ) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().status


def test_metrics_are_served_over_tls(registry: CollectorRegistry, certificates: Path) -> None:
    """A handshake that somebody never ends keeps nobody else waiting."""
    tls = TLS(certificates / "server.pem", certificates / "server.key", None)
    with closing(Endpoint("127.0.0.1", 0, registry, tls)) as served, dial(served):
        assert served.url.startswith("https://")
        assert 200 == scrape(served, certificates, None)


def test_only_who_has_a_certificate_is_served(registry: CollectorRegistry, certificates: Path) -> None:
    """Where a client authority is given, a client of nobody's gets nothing."""
    tls = TLS(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem")
    with closing(Endpoint("127.0.0.1", 0, registry, tls)) as served:
        assert 200 == scrape(served, certificates, "client")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            scrape(served, certificates, None)


def test_a_certificate_that_cannot_be_read_is_told(registry: CollectorRegistry, tmp_path: Path) -> None:
    """Before anything is served in the clear."""
    with pytest.raises(UnusableError, match=f"cannot serve metrics.*'{tmp_path}/a'"):
        Endpoint("127.0.0.1", 0, registry, TLS(tmp_path / "a", tmp_path / "b", None))
