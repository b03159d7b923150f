"""A client that speaks TLS before its login, without the worker around it: what is still to come of it."""

import socket
import ssl
from contextlib import suppress

from qmail_popup import protocol
from qmail_popup.listener import certificates
from qmail_popup.listener.addresses import Address
from qmail_popup.listener.buffer import Buffer
from qmail_popup.listener.connection import Connection
from qmail_popup.listener.frames import DISCONNECTED
from qmail_popup.listener.options import Pair
from qmail_popup.listener.tls import Server
from qmail_popup.settings import Settings
from tests.qmail_popup.listener.conftest import Certified
from tests.support.waiting import TIMEOUT

_ASKED = 400
_ANSWER = b"+OK capability list follows\r\nTOP\r\nUSER\r\nUIDL\r\n.\r\n"


class _Nobody:
    """Serves no connection."""

    def serve(self, _connection: Connection) -> None:
        raise AssertionError("nobody asked for that")


class _Client:
    """TLS of a client, in memory."""

    def __init__(self, certified: Certified) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = certified.issuer.trusted()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def greet(self, connection: Connection, buffer: Buffer) -> None:
        """Do a handshake, without a socket."""
        secure = connection.secure
        assert secure
        while not secure.is_on:
            with suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
            secure.receive(self._outgoing.read(), buffer.view)
            self._incoming.write(secure.pending())

    def farewell(self, said: bytes) -> bytes:
        """Return records that say this, and that there is no more."""
        self._tls.write(said)
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._outgoing.read()

    def read(self, records: bytes) -> bytes:
        """Return what they say."""
        self._incoming.write(records)
        said = b""
        with suppress(ssl.SSLWantReadError):
            while True:
                said += self._tls.read(65536)
        return said


def _connection(peer: socket.socket, certified: Certified) -> Connection:
    """Return a connection that is about to begin with TLS."""
    told = certified.options
    pair = Pair(told[told.index("--tls-certificate") + 1], told[told.index("--tls-key") + 1])
    nobody, settings = Address(bytes(16), 1), Settings([b"pop.example.org", b"/bin/true"], {})
    connection = Connection(_Nobody(), peer, 1, nobody, settings, local=nobody, origin=0, start=1)
    connection.secure = Server(certificates.load([pair], "TLSv1.2")[0]).open()
    connection.state = protocol.Authorization(
        b"<1.1@pop.example.org>", apop=False, stls=True, tls_required=False, tls=True, resp_codes=False
    )
    return connection


def test_a_farewell_while_replies_wait(certified: Certified) -> None:
    """Who takes his replies late has them all, and then the connection is over: no more will come of him."""
    near, far = socket.socketpair()
    far.settimeout(TIMEOUT)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    buffer, client, connection = Buffer(), _Client(certified), _connection(near, certified)
    client.greet(connection, buffer)
    far.sendall(client.farewell(b"CAPA\r\n" * _ASKED))
    came, said = connection.read(buffer), b""
    assert ("", True) == (came, bool(connection.unsent))
    while not came:
        said += client.read(far.recv(65536))
        came = connection.flush(buffer)
    with near, far:
        near.shutdown(socket.SHUT_WR)
        said += client.read(b"".join(iter(lambda: far.recv(65536), b"")))
    assert (DISCONNECTED, _ASKED * _ANSWER) == (came, said)
