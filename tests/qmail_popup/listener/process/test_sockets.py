"""Listening sockets that the listener binds itself."""

import socket

from qmail_popup.listener.process.sockets import POP3, listen
from tests.support.waiting import TIMEOUT

_HOST = "127.0.0.1"


def test_both_families_at_one_port() -> None:
    """IPv6 is a socket of its own, so that 0:110 and [::]:110 can be given together."""
    (four,) = listen(POP3, [("0", 0)])
    port = four.socket.getsockname()[1]
    (six,) = listen(POP3, [("::", port)])
    with four.socket, six.socket:
        assert [f"pop3 on 0.0.0.0:{port}", f"pop3 on [::]:{port}"] == [str(four), str(six)]


def test_a_port_with_sessions_of_before() -> None:
    """A listener that is restarted can bind it while clients of the one before are still connected."""
    (before,) = listen(POP3, [(_HOST, 0)])
    port = before.socket.getsockname()[1]
    before.socket.settimeout(TIMEOUT)
    with socket.create_connection((_HOST, port)), before.socket.accept()[0]:
        before.socket.close()
        (after,) = listen(POP3, [(_HOST, port)])
        with after.socket:
            assert f"pop3 on {_HOST}:{port}" == str(after)
