"""What a client may do between STLS and the end of its handshake."""

import socket
import ssl

import pytest

from tests.support.authority import Authority
from tests.support.maildir import Account
from tests.support.server import HOST, Server
from tests.support.waiting import TIMEOUT

_SECURE = "Accept::AUTH::User P:POP3S S:127.0.0.1:unknown ?~ 'bob'"
_STLS = b"+OK starting TLS negotiation\r\n"


def _start_tls(tls_server: Server, behind: bytes = b"") -> socket.socket:
    """Return a connection at which STLS was answered, with `behind` sent in the same packet."""
    connection = socket.create_connection((HOST, tls_server.port), timeout=TIMEOUT)
    assert b"+OK\r\n" == connection.recv(100)
    connection.sendall(b"STLS\r\n" + behind)
    assert _STLS == connection.recv(len(_STLS), socket.MSG_WAITALL)
    return connection


def _rest(connection: socket.socket) -> bytes:
    """Return what still comes; a server that has thrown input away resets the connection."""
    said = b""
    try:
        while chunk := connection.recv(65536):
            said += chunk
    except ConnectionResetError:
        pass
    return said


def test_commands_in_clear_behind_stls_are_never_executed(tls_server: Server, bob: Account) -> None:
    """They are no handshake, so the handshake fails: nobody is logged in, and nothing of a reply comes."""
    injected = f"USER {bob.name}\r\nPASS {bob.password}\r\nSTAT\r\nQUIT\r\n".encode()
    with _start_tls(tls_server, injected) as connection:
        said = _rest(connection)
    assert b"+OK" not in said
    assert b"-ERR" not in said
    assert [] == tls_server.settled_records()


def test_a_handshake_sent_right_behind_stls_is_completed(
    tls_server: Server, bob: Account, certificates: Authority
) -> None:
    """A client that does not wait has its hello in the same packet: no byte of it may be lost."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = certificates.trusted().wrap_bio(incoming, outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with _start_tls(tls_server, outgoing.read()) as connection:
        while not _advanced(tls):
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(65536))
        tls.write(f"USER {bob.name}\r\nPASS {bob.password}\r\nQUIT\r\n".encode())
        connection.sendall(outgoing.read())
        _rest(connection)
    assert [_SECURE] == tls_server.settled_records()


def _advanced(tls: ssl.SSLObject) -> bool:
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@pytest.mark.parametrize("how", ["garbage", "untrusted", "closed", "too old"])
def test_a_failed_handshake_leaves_nothing(tls_server: Server, how: str) -> None:
    """No process, no word in clear and no record: only the end."""
    with _start_tls(tls_server) as connection:
        ways = {"garbage": _garble, "untrusted": _distrust, "closed": _leave, "too old": _offer_too_little}
        said = ways[how](connection)
    assert b"+OK" not in said
    assert b"-ERR" not in said
    assert [] == tls_server.settled_records()
    assert [] == tls_server.processes()


def _garble(connection: socket.socket) -> bytes:
    connection.sendall(b"this is no client hello, whatever else it may be\r\n" * 20)
    return _rest(connection)


def _distrust(connection: socket.socket) -> bytes:
    """Do not know the authority, tell the server so, and go."""
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(connection, server_hostname=HOST)
    return b""


def _leave(connection: socket.socket) -> bytes:
    connection.shutdown(socket.SHUT_WR)
    return _rest(connection)


def _offer_too_little(connection: socket.socket) -> bytes:
    """Send a hello of TLS 1.0 with one cipher that nobody has any more."""
    body = bytes.fromhex("0301") + bytes(32) + bytes.fromhex("00 0002 0003 01 00")
    hello = b"\x01" + len(body).to_bytes(3, "big") + body
    connection.sendall(b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
    return _rest(connection)


def test_a_client_that_leaves_after_stls_leaves_nothing(tls_server: Server) -> None:
    """Not even while the handshake is still awaited."""
    _start_tls(tls_server).close()
    assert [] == tls_server.settled_records()
