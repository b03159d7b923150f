"""TLS behind a load balancer that passes it on, and for clients of whom a rule says so."""

import socket
from pathlib import Path

import pytest

from tests.qmail_popup.listener.conftest import Certified
from tests.qmail_popup.listener.test_balancers import binary, text
from tests.support import rules, secure
from tests.support.resident import HOST, LOGIN, Listener, read_all, read_line
from tests.support.secure import Client, talk
from tests.support.waiting import TIMEOUT

_BALANCER = "127.0.0.9"
_ENV = ("/bin/sh", "-c", "env")
_RECORD = "Accept::AUTH::User P:POP3S S:192.0.2.1:unknown ?~ 'bob'"


def _connect(port: int, header: bytes) -> socket.socket:
    peer = socket.create_connection((HOST, port), TIMEOUT, (_BALANCER, 0))
    peer.sendall(header)
    return peer


@pytest.mark.parametrize("header", [text("192.0.2.1"), binary("192.0.2.1")], ids=["v1", "v2"])
def test_pop3s(tmp_path: Path, certified: Certified, header: bytes) -> None:
    """The header comes before the handshake, and its client is whom the record names."""
    options = (*certified.options, "--proxy-protocol", _BALANCER)
    with Listener(tmp_path, *options, subprogram=_ENV) as listener:
        client = Client(_connect(secure.port(listener), header), certified.issuer.trusted())
        assert b"+OK\r\n" == read_line(client)
        said = talk(client, LOGIN).decode()
        assert {"TCPREMOTEIP=192.0.2.1", "TCPLOCALPORT=995"} <= set(said.splitlines())
        assert listener.wait_for_records(1)[0].endswith(_RECORD)


def test_stls(tmp_path: Path, certified: Certified) -> None:
    """So it does where TLS begins later."""
    with Listener(tmp_path, *certified.options, "--proxy-protocol", _BALANCER) as listener:
        peer = _connect(listener.port, text("192.0.2.1") + b"STLS\r\n")
        assert (b"+OK\r\n", secure.STARTING) == (read_line(peer), read_line(peer))
        talk(Client(peer, certified.issuer.trusted()), LOGIN)
        assert listener.wait_for_records(1)[0].endswith(_RECORD)


def test_no_header_before_the_handshake(tmp_path: Path, certified: Certified) -> None:
    """A client's first word of TLS is no header."""
    with (
        Listener(tmp_path, *certified.options, "--proxy-protocol", _BALANCER) as listener,
        _connect(secure.port(listener), b"\x16\x03\x01\x02\x00") as peer,
    ):
        assert b"" == read_all(peer)


def test_rules_for_tls(tmp_path: Path, certified: Certified) -> None:
    """A rule offers STLS, hides or requires it, and denies before a handshake."""
    lines = ('192.0.2.1:allow,UCSPITLS="-"', '192.0.2.2:allow,UCSPITLS="!"', "192.0.2.3:deny", ":allow")
    rules.compiled(tmp_path / "cdb", "\n".join(lines) + "\n")
    options = (*certified.options, "--proxy-protocol", _BALANCER, "--rules", str(tmp_path / "cdb"))
    with Listener(tmp_path, *options) as listener:
        for source, stls, user in (("192.0.2.1", 0, 1), ("192.0.2.2", 1, 0), ("192.0.2.4", 1, 1)):
            with _connect(listener.port, text(source) + b"CAPA\r\nQUIT\r\n") as peer:
                said = read_all(peer).split(b"\r\n")
            assert (stls, user) == (said.count(b"STLS"), said.count(b"USER"))
        with _connect(secure.port(listener), text("192.0.2.3")) as peer:
            assert b"" == read_all(peer)
        with Client(_connect(secure.port(listener), text("192.0.2.2")), certified.issuer.trusted()) as client:
            assert b"+OK\r\n" == read_line(client)
