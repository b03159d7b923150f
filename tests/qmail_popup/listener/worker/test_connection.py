"""A client that speaks TLS before its login, without the worker around it: what is still to come of it."""

import itertools
import socket

from qmail_popup import protocol
from qmail_popup.listener.addresses import Address
from qmail_popup.listener.ipc.frames import DISCONNECTED
from qmail_popup.listener.options import Pair
from qmail_popup.listener.tls import certificates
from qmail_popup.listener.tls.engine import Server
from qmail_popup.listener.worker.buffer import Buffer
from qmail_popup.listener.worker.connection import Connection
from qmail_popup.settings import Settings
from tests.qmail_popup.listener.conftest import Certified
from tests.support.memory_tls import MemoryClient
from tests.support.resident import read_all
from tests.support.waiting import TIMEOUT

_ANSWER = b"+OK capability list follows\r\nTOP\r\nUSER\r\nUIDL\r\n.\r\n"


class _Nobody:
    """Serves no connection."""

    def serve(self, _connection: Connection) -> None:
        raise AssertionError("nobody asked for that")


def _connection(peer: socket.socket, server: Server) -> Connection:
    """Return a connection that is about to begin with TLS."""
    nobody, settings = Address(bytes(16), 1), Settings([b"pop.example.org", b"/bin/true"], {})
    connection = Connection(_Nobody(), peer, 1, nobody, settings, local=nobody, origin=0, start=1)
    connection.secure = server.open()
    connection.state = protocol.Authorization(
        b"<1.1@pop.example.org>", apop=False, stls=True, tls_required=False, tls=True, resp_codes=False
    )
    return connection


def _server(certified: Certified) -> Server:
    told = certified.options
    pair = Pair(told[told.index("--tls-certificate") + 1], told[told.index("--tls-key") + 1])
    return Server(certificates.load([pair], "TLSv1.2")[0])


def test_a_farewell_while_a_reply_waits(certified: Certified) -> None:
    """Who takes his last reply late has all of it, and then the connection is over: no more will come."""
    server, buffer = _server(certified), Buffer()
    for asked in itertools.count(1):
        near, far = socket.socketpair()
        with near, far:
            far.settimeout(TIMEOUT)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            client, connection = MemoryClient(certified.issuer.trusted()), _connection(near, server)
            client.greet(connection.secure or server.open(), buffer.view)
            far.sendall(client.farewell(b"CAPA\r\n" * asked))
            came = connection.read(buffer)
            if not connection.unsent:  # one command more
                assert DISCONNECTED == came
                continue
            said = b""
            while not came:
                said += client.read(far.recv(65536))
                came = connection.flush(buffer)
            near.shutdown(socket.SHUT_WR)
            said += client.read(read_all(far))
            assert (DISCONNECTED, asked * _ANSWER) == (came, said)
            return
