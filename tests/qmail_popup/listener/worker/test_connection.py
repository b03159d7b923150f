"""A client that speaks TLS before its login, without the worker around it: what is still to come of it."""

import itertools
import socket

from qmail_popup.listener.ipc.frames import DISCONNECTED
from qmail_popup.listener.tls.engine import Server
from qmail_popup.listener.worker.buffer import Buffer
from qmail_popup.listener.worker.connection import START_TLS
from tests.qmail_popup.listener.conftest import Certified
from tests.support.memory_tls import MemoryClient
from tests.support.resident import read_all
from tests.support.secure import STARTING
from tests.support.unserved import unserved
from tests.support.waiting import TIMEOUT

_ANSWER = b"+OK capability list follows\r\nTOP\r\nUSER\r\nUIDL\r\n.\r\n"


def test_a_client_that_is_gone_before_the_greeting() -> None:
    """It has disconnected, and was not greeted."""
    near, far = socket.socketpair()
    far.close()
    with near:
        connection = unserved(near)
        assert (DISCONNECTED, 0) == (connection.greet(), connection.greeted)


def test_a_farewell_while_a_reply_waits(certified: Certified, tls_server: Server) -> None:
    """Who takes his last reply late has all of it, and then the connection is over: no more will come."""
    buffer = Buffer()
    for asked in itertools.count(1):
        near, far = socket.socketpair()
        with near, far:
            far.settimeout(TIMEOUT)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            client, connection = MemoryClient(certified.issuer.trusted()), unserved(near, tls=True)
            connection.secure = tls_server.open()
            client.greet(connection.secure, buffer.view)
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
            assert (DISCONNECTED, asked * _ANSWER) == (came, said + client.read(read_all(far)))
            return


def test_a_flight_that_waits_behind_stls(certified: Certified, tls_server: Server) -> None:
    """Once the rest of a handshake is sent, the session goes on over TLS, and TLS is not started again."""
    buffer, (near, far) = Buffer(), socket.socketpair()
    with near, far:
        far.settimeout(TIMEOUT)
        client, connection = MemoryClient(certified.issuer.trusted()), unserved(near)
        far.sendall(b"STLS\r\n")
        assert START_TLS == connection.read(buffer)
        assert STARTING == far.recv(65536)
        connection.secure = tls_server.open()
        client.greet(connection.secure, buffer.view)
        connection.unsent = b"the rest"
        assert "" == connection.serve_left(buffer)
        assert "" == connection.flush(buffer)
        assert b"the rest" == far.recv(65536)
        far.sendall(client.say(b"NOOP\r\n"))
        assert "" == connection.read(buffer)
        assert b"+OK \r\n" == client.read(far.recv(65536))


def test_a_secret_that_came_with_the_handshake() -> None:
    """Once it has been processed, neither what was kept of it nor the buffer has it."""
    buffer, (near, far) = Buffer(), socket.socketpair()
    with near, far:
        connection = unserved(near, tls=True)
        connection.left = kept = bytearray(b"PASS secret\r\n")
        assert "" == connection.serve_left(buffer)
        assert far.recv(65536).startswith(b"-ERR")
    assert (False, False) == (b"secret" in kept, b"secret" in buffer.bytes)
