"""Connections of a load balancer: the client of its header is who counts, and nobody else can send one."""

import os
import select
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from qmail_popup.listener.addresses import is_in, read, read_network
from qmail_popup.listener.ipc.counts import Counts
from qmail_popup.listener.ipc.frames import NO_HEADER
from qmail_popup.listener.options import parse
from qmail_popup.listener.process.loop import Loop
from qmail_popup.listener.variables import SettingsOf
from qmail_popup.listener.worker.admission import Admission
from qmail_popup.listener.worker.buffer import Buffer
from qmail_popup.listener.worker.connection import Connection
from qmail_popup.listener.worker.limits import Limits
from tests.qmail_popup.listener.test_counted import environment, sessions
from tests.support.listener import Listener as SidecarSocket
from tests.support.programs import need_root
from tests.support.resident import HOST, HOSTNAME, LOGIN, Listener, read_all, read_line, refused
from tests.support.sidecar import RunningSidecar
from tests.support.stand_in import client
from tests.support.waiting import until

_BALANCER, _NETWORK = "127.0.0.9", "127.0.0.8/31"
_OPTIONS = ("--proxy-protocol", _NETWORK, "--proxy-protocol", "2001:db8::/32")
_ENV = ("/bin/sh", "-c", "env | grep TCP | sort")
_SERVED = b"+OK\r\n+OK \r\n"
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def text(client: str, port: int = 1234) -> bytes:
    """Return a header of version 1."""
    local = "2001:db8::99" if ":" in client else "198.51.100.2"
    return f"PROXY TCP{6 if ':' in client else 4} {client} {local} {port} 995\r\n".encode()


def binary(client: str, port: int = 1234) -> bytes:
    """Return a header of version 2, with something behind the addresses."""
    ends = socket.inet_aton(client) + socket.inet_aton("198.51.100.2") + port.to_bytes(2) + (995).to_bytes(2)
    tlv = b"\x04\0\x02hi"
    return _SIGNATURE + b"\x21\x11" + (len(ends) + len(tlv)).to_bytes(2) + ends + tlv


def talk(listener: Listener, said: bytes, source: str = _BALANCER) -> bytes:
    """Say all at once, half-close, and return all that comes back."""
    with listener.connect(source) as peer:
        peer.sendall(said)
        with suppress(OSError):  # the listener may be quicker to hang up
            peer.shutdown(socket.SHUT_WR)
        return read_all(peer)


def variables(said: bytes) -> dict[str, str]:
    """Return what a subprogram has printed of its environment."""
    return dict(line.split("=", 1) for line in said.removeprefix(_SERVED).decode().splitlines())


@pytest.mark.parametrize("header", [text("192.0.2.1"), binary("192.0.2.1")], ids=["v1", "v2"])
def test_the_client_of_the_header(tmp_path: Path, header: bytes) -> None:
    """It is in the record and in the environment, and port 995 there makes nothing POP3S."""
    with Listener(tmp_path, *_OPTIONS, subprogram=_ENV) as listener:
        assert {
            "PROTO": "TCP",
            "TCPLOCALHOST": HOSTNAME,
            "TCPLOCALIP": "198.51.100.2",
            "TCPLOCALPORT": "995",
            "TCPREMOTEIP": "192.0.2.1",
            "TCPREMOTEPORT": "1234",
        } == variables(talk(listener, header + LOGIN))
        assert " P:POP3 S:192.0.2.1:unknown ?~ 'bob'" in listener.wait_for_records(1)[0]


def test_a_client_of_ipv6(tmp_path: Path) -> None:
    """It may have another family than the balancer."""
    with Listener(tmp_path, *_OPTIONS, subprogram=_ENV) as listener:
        found = variables(talk(listener, text("2001:db8::1") + LOGIN))
        assert ("TCP6", "2001:db8::1") == (found["PROTO"], found["TCP6REMOTEIP"])


@pytest.mark.parametrize("header", [text("192.0.2.1"), binary("192.0.2.1")], ids=["v1", "v2"])
def test_a_header_in_pieces(tmp_path: Path, header: bytes) -> None:
    """Nothing is said before it has come whole, and what is behind the login is the subprogram's."""
    with (
        Listener(tmp_path, *_OPTIONS, subprogram=["/bin/cat"]) as listener,
        listener.connect(_BALANCER) as peer,
    ):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(header) - 1):
            peer.sendall(header[place : place + 1])
        assert ([], [], []) == select.select([peer], [], [], 0)
        peer.sendall(header[-1:] + LOGIN + b"mail")
        peer.shutdown(socket.SHUT_WR)
        assert _SERVED + b"mail" == read_all(peer)


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n", _SIGNATURE + b"\x20\0\0\0"],
    ids=["UNKNOWN", "UNKNOWN with addresses", "LOCAL"],
)
def test_a_balancer_that_speaks_for_itself(tmp_path: Path, header: bytes) -> None:
    """Its own address counts, as where it looks whether we are well."""
    with Listener(tmp_path, *_OPTIONS, subprogram=_ENV) as listener:
        found = variables(talk(listener, header + LOGIN))
        assert (_BALANCER, HOST, str(listener.port)) == tuple(
            found[name] for name in ("TCPREMOTEIP", "TCPLOCALIP", "TCPLOCALPORT")
        )


@pytest.mark.parametrize("said", [LOGIN, b"PROXY TCP4 192.0.2.1\r\n" + LOGIN, b"PROXY TCP4 192", b""])
def test_a_bad_header(tmp_path: Path, said: bytes) -> None:
    """Its connection is closed without a word, and nobody logs in."""
    with Listener(tmp_path, *_OPTIONS) as listener:
        assert b"" == talk(listener, said)
        assert _SERVED == talk(listener, text("192.0.2.1") + LOGIN)
        assert 1 == len(listener.wait_for_records(1))


def test_one_line_of_bad_headers(tmp_path: Path) -> None:
    """A balancer that is not set up to send headers is told of, and not for each of its connections."""
    with Listener(tmp_path, *_OPTIONS, "--verbose") as listener:
        for _ in range(3):
            talk(listener, LOGIN)
        until(lambda: 3 == listener.errors().count(" status 256"))
        told = f"closed a connection from {_BALANCER}: no valid PROXY header"
        assert [f"qmail-popup-listener: {told}"] == [
            line for line in listener.errors().splitlines() if "PROXY" in line
        ]


def test_one_line_of_headers_that_do_not_come(tmp_path: Path) -> None:
    """They are told of, too: a client of POP3 says nothing before the greeting, nor does its balancer."""
    env = {**environment(tmp_path), "QMAIL_POPUP_LOGIN_TIMEOUT": "1"}
    with RunningSidecar(tmp_path) as sidecar, Listener(tmp_path, *_OPTIONS, env=env) as listener:
        for said in (b"", b"PROXY "):
            with listener.connect(_BALANCER) as peer:
                peer.sendall(said)
                assert b"" == read_all(peer)
        told = f"closed a connection from {_BALANCER}: no valid PROXY header\n"
        until(lambda: {"timeout": 2} == sessions(sidecar))
        assert 1 == listener.errors().count(told)


def test_a_balancer_that_only_connects(tmp_path: Path) -> None:
    """A check of TCP alone is a session like any other to --verbose, and no reason for a line of its own."""
    need_root()  # the log has one line more without
    with Listener(tmp_path, *_OPTIONS, "--verbose") as listener:
        with listener.connect(_BALANCER):
            pass
        until(lambda: " status 256" in listener.errors())
        lines = [line.split()[1:3:2] for line in listener.errors().splitlines()]
        assert [["status:"], ["pid"], ["ok"], ["end"]] == [line for line in lines if line != ["pop3"]]


def test_from_elsewhere(tmp_path: Path) -> None:
    """Such a header is a line like any other, and its address counts nowhere."""
    with Listener(tmp_path, *_OPTIONS, subprogram=_ENV) as listener:
        said = listener.talk(text("192.0.2.1") + LOGIN)
        refusal = b"-ERR authorization first\r\n"
        assert said.startswith(b"+OK\r\n" + refusal)
        assert HOST == variables(said.replace(refusal, b""))["TCPREMOTEIP"]


def test_the_limit_is_the_clients(tmp_path: Path) -> None:
    """Each client of a balancer has its own, and the balancer none, however many headers are on their way."""
    options = (*_OPTIONS, "--connections-per-client", "1", "--workers", "2")
    with Listener(tmp_path, *options) as listener, ExitStack() as stack:
        peers = [stack.enter_context(listener.connect(_BALANCER)) for _ in range(3)]
        for number, peer in enumerate(peers, 1):
            peer.sendall(text(f"192.0.2.{number}"))
            assert b"+OK\r\n" == read_line(peer)
            stack.enter_context(listener.connect(_BALANCER))
        assert b"" == talk(listener, text("192.0.2.2") + LOGIN)
        assert _SERVED == talk(listener, b"PROXY UNKNOWN\r\n" + LOGIN)
        peers[2].close()
        until(lambda: _SERVED == talk(listener, text("192.0.2.3") + LOGIN))


def test_who_sends_no_header_has_to_go_first(tmp_path: Path) -> None:
    """A connection whose header is still to come takes a place, and is silent."""
    options = (*_OPTIONS, "--connections", "2", "--workers", "1")
    with Listener(tmp_path, *options) as listener, listener.connect(_BALANCER) as silent:
        for _ in range(2):
            assert _SERVED == talk(listener, text("192.0.2.1") + LOGIN)
        with listener.connect() as one, listener.connect() as two:
            assert (b"+OK\r\n", b"+OK\r\n") == (read_line(one), read_line(two))
            assert b"" == read_all(silent)


def test_the_time_for_a_header(tmp_path: Path) -> None:
    """It is the login's, where that is shorter."""
    env = {"QMAIL_POPUP_LOGIN_TIMEOUT": "1"}
    with Listener(tmp_path, *_OPTIONS, env=env) as listener, listener.connect(_BALANCER) as peer:
        peer.sendall(b"PROXY ")
        assert b"" == read_all(peer)


def test_thirty_seconds_of_it() -> None:
    """However long a login may take, a header has 30 s."""
    loop, told = Loop(), parse(["--proxy-protocol", "127.0.0.0/8", HOSTNAME, "/bin/true"])
    settings_of = SettingsOf(told.arguments, {})
    near, far = client()
    ended: list[str] = []

    def end(_connection: Connection, word: str = "") -> None:
        ended.append(word)

    wakeups = [os.eventfd(0)]
    limits = Limits(
        loop,
        told,
        Counts(1).column(0),
        wakeups=wakeups,
        slot=0,
        timed_out=end,
        refused=end,
        woken=lambda: None,
    )
    admission = Admission(
        loop, told, limits, Buffer(), settings_of=settings_of, rules=None, greet=end, ended=end
    )
    with near, far:
        now, address = time.monotonic(), read(far.getpeername())
        settings, start = settings_of.default, time.monotonic_ns()
        connection = Connection(_Nobody(), far, 1, address, settings, local=address, origin=0, start=start)
        admission.begin(connection)
        for timer in loop.timers:
            timer.expire(now + 30)
        assert [] == ended
        for timer in loop.timers:
            timer.expire(time.monotonic() + 30)
        assert [NO_HEADER] == ended
    os.close(wakeups[0])


class _Nobody:
    """Who serves no connection."""

    def serve(self, connection: Connection) -> None:
        raise AssertionError(connection)


def test_each_counts_once(tmp_path: Path) -> None:
    """A limit is refused, a bad header and one that does not come disconnected."""
    options = (*_OPTIONS, "--connections-per-client", "1")
    with (
        RunningSidecar(tmp_path) as sidecar,
        Listener(tmp_path, *options, env=environment(tmp_path)) as listener,
    ):
        with listener.connect(_BALANCER) as peer:
            peer.sendall(text("192.0.2.1"))
            assert b"+OK\r\n" == read_line(peer)
            assert b"" == talk(listener, text("192.0.2.1"))
            assert b"" == talk(listener, LOGIN)
            assert b"" == talk(listener, b"")
        until(lambda: {"refused": 1, "disconnected": 3} == sessions(sidecar))


def test_the_refused_clients_address(tmp_path: Path) -> None:
    """The event of a refused session has the address of the header."""
    (tmp_path / "run").mkdir()
    options = (*_OPTIONS, "--connections-per-client", "1")
    with (
        SidecarSocket(tmp_path / "run/sidecar.sock") as sidecar,
        Listener(tmp_path, *options, env=environment(tmp_path)) as listener,
        listener.connect(_BALANCER) as peer,
    ):
        peer.sendall(text("192.0.2.1"))
        assert b"+OK\r\n" == read_line(peer)
        greeted = sidecar.accept()
        assert b"" == talk(listener, text("192.0.2.1", 77))
        refused_session = sidecar.accept()
        event = refused_session.block()
        assert event
        assert (b"refused", b"192.0.2.1", b"77", b"198.51.100.2") == tuple(
            event[name] for name in (b"ENDED", b"CLIENT_IP", b"CLIENT_PORT", b"LOCAL_IP")
        )
        greeted.close()
        refused_session.close()


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("192.0.2.7", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.6", "192.0.2.8", "::c000:207"]),
        ("192.0.2.0/24", ["192.0.2.0", "192.0.2.255"], ["192.0.3.0", "192.0.1.255"]),
        ("0.0.0.0/0", ["192.0.2.0", "255.255.255.255"], ["::1", "2001:db8::1"]),
        ("::/0", ["::1", "2001:db8::1"], ["192.0.2.0"]),
        ("2001:db8::/33", ["2001:db8:7fff::1"], ["2001:db8:8000::1"]),
        ("::ffff:192.0.2.0/120", ["192.0.2.9"], ["192.0.3.9"]),
    ],
)
def test_a_network(network: str, inside: list[str], outside: list[str]) -> None:
    """It holds the addresses that begin with its bits, and none of the other family."""
    networks = [read_network(network)]
    assert inside == [ip for ip in inside + outside if is_in(read((ip, 0)).ip, networks)]


@pytest.mark.parametrize("network", ["192.0.2.1/24", "192.0.2.0/33", "pop.example.org", "", "192.0.2"])
def test_what_is_no_network(network: str) -> None:
    """It is one line and status 2."""
    ended = refused("--pop3", f"{HOST}:0", f"--proxy-protocol={network}", "pop.example.org", "/bin/true")
    assert (2, 1) == (ended.returncode, len(ended.stderr.splitlines()))
