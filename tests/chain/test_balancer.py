"""HAProxy in front of the listener: the client's address through it, with rules and limits for it."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from tests.chain.conftest import Checker
from tests.support import documents, programs, rules
from tests.support.descriptors import CHECKOUT
from tests.support.maildir import SERVED
from tests.support.resident import HOST, Listener, read_all, read_line
from tests.support.waiting import TIMEOUT, until

_BALANCER = "127.0.0.9"
_DENIED, _OTHER = "127.0.0.2", "127.0.0.3"
_MAIL = b"USER bob\r\nPASS secret\r\nRETR 1\r\nQUIT\r\n"
_CONFIGURATION = """
defaults
    mode tcp
    timeout connect 30s
    timeout client 120s
    timeout server 120s
frontend pop3
    bind fd@{ipv4}
    bind fd@{ipv6}
    default_backend listener
backend listener
    source {source}
    server one {host}:{port} {send} check inter 100ms
"""


class HAProxy:
    """One that runs; leaving the context ends it. address, address6: where clients connect."""

    def __init__(self, directory: Path, port: int, send: str) -> None:
        """Have it send to a port; send: how, in words of its configuration."""
        (program,) = programs.need("haproxy")
        sockets = [socket.create_server((HOST, 0)), socket.create_server(("::1", 0), family=socket.AF_INET6)]
        self.address, self.address6 = (sock.getsockname()[:2] for sock in sockets)
        ipv4, ipv6 = (sock.fileno() for sock in sockets)
        configuration = directory / "haproxy.cfg"
        configuration.write_text(
            _CONFIGURATION.format(ipv4=ipv4, ipv6=ipv6, source=_BALANCER, host=HOST, port=port, send=send)
        )
        with ExitStack() as stack:
            for sock in sockets:
                stack.enter_context(sock)
            self._process = subprocess.Popen(
                [program, "-db", "-q", "-f", configuration], pass_fds=(ipv4, ipv6)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(TIMEOUT)

    def connect(self, source: str = HOST) -> socket.socket:
        """Connect from an address."""
        return socket.create_connection(self.address, TIMEOUT, (source, 0))

    def talk(self, said: bytes, source: str = HOST) -> bytes:
        """Say all at once, and return all that comes back."""
        with self.connect(source) as peer:
            peer.sendall(said)
            return read_all(peer)


@pytest.fixture
def listener(checker: Checker, tmp_path: Path) -> Iterator[Listener]:
    """Return a listener in front of bob's mail that lets one client of a balancer in, and denies another."""
    rules.compiled(tmp_path / "cdb", f"{_DENIED}:deny\n")
    subprogram, env = checker
    options = (
        "--verbose",
        "--proxy-protocol",
        _BALANCER,
        "--rules",
        str(tmp_path / "cdb"),
        "--connections-per-client",
        "2",
    )
    with Listener(tmp_path, *options, subprogram=subprogram, env=env) as running:
        yield running


@pytest.fixture(
    params=["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"],
    ids=["v1", "v2", "v2 with a checksum"],
)
def haproxy(request: pytest.FixtureRequest, listener: Listener, tmp_path: Path) -> Iterator[HAProxy]:
    """Return one in front of it."""
    with HAProxy(tmp_path, listener.port, request.param) as running:
        yield running


def test_a_client_behind_it(haproxy: HAProxy, listener: Listener) -> None:
    """It reads its mail, and its own address is in the record, of IPv4 and of IPv6."""
    assert SERVED[0] in haproxy.talk(_MAIL, _OTHER).replace(b"\r\n", b"\n")
    with socket.create_connection(haproxy.address6, TIMEOUT) as peer:
        peer.sendall(_MAIL)
        assert SERVED[0] in read_all(peer).replace(b"\r\n", b"\n")
    records = listener.wait_for_records(2)
    assert [f" S:{_OTHER}:unknown ?~ 'bob'", " S:::1:unknown ?~ 'bob'"] == [
        record.partition("P:POP3")[2] for record in records
    ]


def test_a_client_that_is_denied(haproxy: HAProxy, listener: Listener) -> None:
    """Its address decides, and not the balancer's."""
    assert b"" == haproxy.talk(_MAIL, _DENIED)
    assert SERVED[0] in haproxy.talk(_MAIL).replace(b"\r\n", b"\n")
    assert 1 == len(listener.wait_for_records(1))


def test_a_client_with_too_many(haproxy: HAProxy) -> None:
    """Its newcomer is sent away, and another client is served."""
    with ExitStack() as stack:
        for _ in range(2):
            assert read_line(stack.enter_context(haproxy.connect(_OTHER))).startswith(b"+OK")
        assert b"" == haproxy.talk(_MAIL, _OTHER)
        assert SERVED[0] in haproxy.talk(_MAIL).replace(b"\r\n", b"\n")
    until(lambda: b"+OK" in haproxy.talk(_MAIL, _OTHER))


def test_its_checks(haproxy: HAProxy, listener: Listener) -> None:
    """They begin with a header that names nobody, are let in, and leave no record."""
    until(lambda: 2 < listener.errors().count(f" from {_BALANCER}\n"))
    assert "PROXY header" not in listener.errors()
    assert SERVED[0] in haproxy.talk(_MAIL).replace(b"\r\n", b"\n")
    assert 1 == len(listener.wait_for_records(1))


def test_one_that_sends_no_header(tmp_path: Path) -> None:
    """Its clients wait in vain for a greeting, and a line says why."""
    env = {"QMAIL_POPUP_LOGIN_TIMEOUT": "2"}
    with (
        Listener(tmp_path, "--proxy-protocol", _BALANCER, env=env) as listener,
        HAProxy(tmp_path, listener.port, "") as haproxy,
        haproxy.connect() as peer,
    ):
        assert b"" == read_all(peer)
        said = f"closed a connection from {_BALANCER}: no valid PROXY header\n"
        until(lambda: 1 == listener.errors().count(said))


def test_the_page(tmp_path: Path) -> None:
    """What it tells haproxy is what haproxy takes, and what the tests above try."""
    (program,) = programs.need("haproxy")
    (block,) = documents.commands(CHECKOUT / "deploy/tls/README.md", "Behind a balancer")
    assert "send-proxy-v2 check" in block
    file = tmp_path / "haproxy.cfg"
    timeouts = "".join(f"    timeout {name} 1s\n" for name in ("connect", "server", "client"))
    frontend = f"frontend in\n    bind {HOST}:1\n    mode tcp\n    default_backend pop3\n"
    file.write_text(f"defaults\n{timeouts}{frontend}{block}\n")
    checked = subprocess.run([program, "-c", "-f", file], capture_output=True, text=True, check=False)
    assert 0 == checked.returncode, checked.stderr
