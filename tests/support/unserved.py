"""A client's connection without a worker around it."""

import socket
from time import monotonic_ns

from qmail_popup import protocol
from qmail_popup.listener.addresses import read
from qmail_popup.listener.process.loop import Deadlines, Loop
from qmail_popup.listener.worker.connection import Connection
from qmail_popup.settings import Settings
from tests.support.waiting import TIMEOUT


class Nobody:
    """Serves no connection."""

    def serve(self, connection: Connection) -> None:
        """Fail."""
        raise AssertionError(f"nobody asked for {connection.number}")


def give_up_in_time(loop: Loop) -> None:
    """Have a loop that waits for nothing fail, instead of the whole run of tests waiting for it."""
    guard: Deadlines[None] = Deadlines(TIMEOUT, _give_up)
    guard.set(None)
    loop.timers.append(guard)


def _give_up(_nothing: None) -> None:
    raise TimeoutError(f"nothing has come within {TIMEOUT} seconds")


def unserved(peer: socket.socket, *, number: int = 1, tls: bool = False) -> Connection:
    """Return the connection of a worker's socket, before its greeting; tls: of POP3S."""
    settings, nobody = Settings([b"pop.example.org", b"/bin/true"], {}), read(("192.0.2.1", 1234))
    client = read(peer.getpeername()) if peer.family != socket.AF_UNIX else nobody
    connection = Connection(
        Nobody(), peer, number, client, settings, local=nobody, origin=0, start=monotonic_ns()
    )
    connection.state = protocol.Authorization(
        b"<1.1@pop.example.org>", apop=False, stls=True, tls_required=False, tls=tls, resp_codes=False
    )
    return connection
