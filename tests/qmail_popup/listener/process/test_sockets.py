"""Listening sockets that the listener binds itself."""

from qmail_popup.listener.process.sockets import POP3, listen


def test_both_families_at_one_port() -> None:
    """IPv6 is a socket of its own, so that 0:110 and [::]:110 can be given together."""
    (four,) = listen(POP3, [("0", 0)])
    port = four.socket.getsockname()[1]
    (six,) = listen(POP3, [("::", port)])
    with four.socket, six.socket:
        assert [f"pop3 on 0.0.0.0:{port}", f"pop3 on [::]:{port}"] == [str(four), str(six)]
