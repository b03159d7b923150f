"""The HTTP server: who is answered, who is cut off, and TLS."""

import http.client
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import h11
import pytest

from observability.errors import UnusableError
from observability.options.kinds import TLS
from observability.prometheus import client, endpoint
from observability.prometheus.endpoint import Endpoint
from observability.prometheus.pages import Answer
from tests.support.programs import need
from tests.support.waiting import TIMEOUT, eventually

BODY = b"answer 42.0\n" * 1000


def pages(request: h11.Request) -> Answer:
    """Answer with a body, or fail where that is asked for."""
    if request.target == b"/broken":
        raise KeyError("a fault of ours")
    return Answer(200, [("Content-Type", "text/plain")], BODY * (1000 if request.target == b"/large" else 1))


@pytest.fixture
def served() -> Iterator[Endpoint]:
    """Give an endpoint on a port that the kernel picked."""
    with closing(Endpoint("127.0.0.1", 0, pages)) as served:
        yield served


def get(served: Endpoint, path: str = "/metrics", method: str = "GET") -> tuple[int, bytes]:
    """Return status and body."""
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=TIMEOUT)
    with closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def dial(served: Endpoint) -> socket.socket:
    """Connect and say nothing."""
    where = urlsplit(served.url)
    return socket.create_connection((where.hostname, where.port), timeout=TIMEOUT)


def all_of(connection: socket.socket) -> bytes:
    """Read to the end."""
    with connection.makefile("rb") as reader:
        return reader.read()


def test_a_request_is_answered(served: Endpoint) -> None:
    """With the status and the body that the page has."""
    assert (200, BODY) == get(served)


def test_head_is_answered_without_the_body(served: Endpoint) -> None:
    """With its length, and nothing behind the head."""
    with dial(served) as client:
        client.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: mx\r\n\r\n")
        answer = all_of(client)
    assert b"\r\nContent-Length: %d\r\n" % len(BODY) in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_request_may_come_in_any_pieces(served: Endpoint, step: int) -> None:
    """As it came about on the way; HTTP/1.0 and what follows the request are nothing special."""
    request = b"GET /metrics HTTP/1.0\r\nA: b\r\n\r\nand more"
    with dial(served) as client:
        for start in range(0, len(request), step):
            client.sendall(request[start : start + step])
        assert all_of(client).endswith(b"\r\n\r\n" + BODY)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: mx\r\nA: " + b"b" * 20_000, 431),
    ],
)
def test_what_is_no_request_is_refused(served: Endpoint, sent: bytes, status: int) -> None:
    """With the status that says why, and the next client is served."""
    with dial(served) as client:
        client.sendall(sent)
        assert all_of(client).startswith(b"HTTP/1.1 %d " % status)
    assert 200 == get(served)[0]


def test_a_page_that_fails_is_told_to_who_asked(served: Endpoint) -> None:
    """It says why, and the next request is answered."""
    status, body = get(served, "/broken")
    assert (500, True) == (status, b"a fault of ours" in body)
    assert 200 == get(served)[0]


def test_a_large_answer_arrives_whole(served: Endpoint) -> None:
    """What a connection does not take at once follows when there is room."""
    assert (200, BODY * 1000) == get(served, "/large")


def test_an_ipv6_address_is_served() -> None:
    """Its URL has the brackets that it needs."""
    with closing(Endpoint("::1", 0, pages)) as served:
        assert served.url.startswith("http://[::1]:")
        assert 200 == get(served)[0]


def test_a_port_that_is_taken_is_told(served: Endpoint) -> None:
    """In one line, with the option and the address."""
    port = urlsplit(served.url).port
    assert port
    with pytest.raises(
        UnusableError, match=f"^cannot use --listen 127.0.0.1:{port}: Address already in use$"
    ):
        Endpoint("127.0.0.1", port, pages)


def test_who_is_silent_longest_makes_room(served: Endpoint) -> None:
    """Where there are too many, the first of them is cut off, and whoever asks is answered."""
    with ExitStack() as stack:
        silent = [stack.enter_context(dial(served)) for _ in range(endpoint.MAX_CLIENTS)]
        assert 200 == get(served)[0]
        assert b"" == silent[0].recv(1)


def test_a_sign_of_life_keeps_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that have not asked yet the one that has sent something more recently stays."""
    monkeypatch.setattr(client, "REQUEST_TIMEOUT", TIMEOUT)
    with (
        closing(Endpoint("127.0.0.1", 0, pages, max_clients=3)) as served,
        dial(served) as first,
        dial(served) as second,
    ):
        assert 200 == get(served)[0]  # so both have been accepted
        first.sendall(b"GET /metrics HTTP/1.0\r\n")
        with dial(served):
            assert 200 == get(served)[0]
        assert b"" == second.recv(1)
        first.sendall(b"\r\n")
        assert all_of(first).endswith(BODY)


def test_who_is_being_answered_stays(served: Endpoint) -> None:
    """However many come meanwhile, an answer that is on its way is not cut short."""
    with dial(served) as slow, ExitStack() as stack:
        slow.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        started = slow.recv(1)
        for _ in range(2 * endpoint.MAX_CLIENTS):
            stack.enter_context(dial(served))
        assert (started + all_of(slow)).endswith(BODY * 1000)


@pytest.mark.parametrize("sent", [b"", b"GET /met"])
def test_who_does_not_ask_in_time_is_cut_off(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """With nothing said, or with half a request."""
    monkeypatch.setattr(client, "REQUEST_TIMEOUT", 0.2)
    with closing(Endpoint("127.0.0.1", 0, pages)) as served, dial(served) as slow:
        slow.sendall(sent)
        assert b"" == slow.recv(1)


def test_who_does_not_take_the_answer_in_time_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets a part, and its place is free again."""
    monkeypatch.setattr(client, "ANSWER_TIMEOUT", 0.2)
    with closing(Endpoint("127.0.0.1", 0, pages, max_clients=1)) as served, dial(served) as slow:
        slow.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        slow.recv(1)
        assert eventually(lambda: _is_served(served))
        with suppress(ConnectionError):
            assert len(all_of(slow)) < 1000 * len(BODY)


def _is_served(served: Endpoint) -> bool:
    try:
        return get(served)[0] == 200
    except OSError:
        return False


def test_idle_clients_that_come_again_and_again_keep_nobody_out(served: Endpoint) -> None:
    """A thousand connections that ask nothing, each renewed when it is cut off: twenty of twenty scrapes."""
    with _crowd(urlsplit(served.url).port or 0, 1000):
        assert [200] * 20 == [get(served)[0] for _ in range(20)]


@contextmanager
def _crowd(port: int, number: int) -> Iterator[None]:
    """Keep so many idle connections to a port, in a process of its own."""
    script = (
        "import select, socket, sys\n"
        "port, number = map(int, sys.argv[1:])\n"
        "poll, all = select.epoll(), {}\n"
        "def renew():\n"
        "    one = socket.socket()\n"
        "    one.setblocking(False)\n"
        "    one.connect_ex(('127.0.0.1', port))\n"
        "    all[one.fileno()] = one\n"
        "    poll.register(one, select.EPOLLIN | select.EPOLLRDHUP)\n"
        "for _ in range(number): renew()\n"
        "print(flush=True)\n"
        "while True:\n"
        "    for fd, _ in poll.poll():\n"
        "        all.pop(fd).close()\n"
        "        renew()\n"
    )
    command = [sys.executable, "-IS", "-c", script, str(port), str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as crowd:
        try:
            assert crowd.stdout
            crowd.stdout.readline()
            yield
        finally:
            crowd.kill()


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
    with closing(http.client.HTTPSConnection(netloc, context=context, timeout=TIMEOUT)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().status


def test_metrics_are_served_over_tls(certificates: Path) -> None:
    """A handshake that somebody never ends keeps nobody else waiting."""
    tls = TLS(certificates / "server.pem", certificates / "server.key", None)
    with closing(Endpoint("127.0.0.1", 0, pages, tls)) as served, dial(served):
        assert served.url.startswith("https://")
        assert 200 == scrape(served, certificates, None)


def test_only_who_has_a_certificate_is_served(certificates: Path) -> None:
    """Where a client authority is given, a client of nobody's gets nothing."""
    tls = TLS(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem")
    with closing(Endpoint("127.0.0.1", 0, pages, tls)) as served:
        assert 200 == scrape(served, certificates, "client")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            scrape(served, certificates, None)


def test_certificates_are_read_again_when_that_is_asked_for(certificates: Path, tmp_path: Path) -> None:
    """A new one needs no restart; where it is broken the old one stays in use, and that is told."""
    certificate, key = tmp_path / "served.pem", tmp_path / "served.key"
    certificate.write_bytes((certificates / "client.pem").read_bytes())
    key.write_bytes((certificates / "client.key").read_bytes())
    with closing(Endpoint("127.0.0.1", 0, pages, TLS(certificate, key, None))) as served:
        assert b"CN=client" in _subject(served)
        certificate.write_bytes((certificates / "server.pem").read_bytes())
        with pytest.raises(UnusableError, match="--tls-cert"):
            served.reload()
        assert b"CN=client" in _subject(served)
        key.write_bytes((certificates / "server.key").read_bytes())
        served.reload()
        assert b"CN=server" in _subject(served)


def _subject(served: Endpoint) -> bytes:
    (openssl,) = need("openssl")
    where = urlsplit(served.url)
    pem = ssl.get_server_certificate((where.hostname or "", where.port or 0))
    command = [openssl, "x509", "-noout", "-subject", "-nameopt", "RFC2253"]
    return subprocess.run(command, input=pem.encode(), capture_output=True, check=True).stdout


@pytest.mark.parametrize("missing", ["certificate", "key", "client_ca"])
def test_a_certificate_that_cannot_be_read_is_told(certificates: Path, tmp_path: Path, missing: str) -> None:
    """Before anything is served in the clear, with the option and the file."""
    tls = TLS(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem")
    option = {"certificate": "--tls-cert", "key": "--tls-key", "client_ca": "--tls-client-ca"}[missing]
    with pytest.raises(UnusableError, match=f"^cannot use {option} {tmp_path}/a: No such file or directory$"):
        Endpoint("127.0.0.1", 0, pages, tls._replace(**{missing: tmp_path / "a"}))
