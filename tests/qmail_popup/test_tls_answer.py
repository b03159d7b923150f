"""What the TLS server answers: its variables, in pieces of any size, or a failure."""

import fcntl
import os
import socket
import termios
from contextlib import suppress

import pytest

from qmail_popup.tls import FAILED, MAX_ANSWER
from tests.support import descriptors
from tests.support.child import Child, run
from tests.support.handshake import (
    ANSWER,
    CONTROL,
    TOLD,
    Server,
    answered,
    started,
    until_heard,
)
from tests.support.waiting import until

ANSWERS: dict[str, tuple[bytes, dict[bytes, bytes]]] = {
    "usual": (ANSWER, TOLD),
    "empty": (b"\0", {}),
    "empty, with more behind it": (b"\0SSL_A=1\0\0", {}),
    "two NULs": (b"\0\0", {}),
    "one": (b"SSL_A=1\0\0", {b"SSL_A": b"1"}),
    "with more behind it": (b"SSL_A=1\0\0SSL_B=2\0\0", {b"SSL_A": b"1"}),
    "names of others": (b"PATH=x\0SSL_A=1\0XSSL=y\0ssl=z\0LD_PRELOAD=q\0\0", {b"SSL_A": b"1"}),
    "no value, no name, no equals sign": (b"SSL_A=\0=x\0SSL_B\0SSL=c=d\0\0", {b"SSL_A": b"", b"SSL": b"c=d"}),
    "all bytes": (b"SSL_A=%s\0\0" % bytes(range(1, 256)), {b"SSL_A": bytes(range(1, 256))}),
    "as long as may be": (
        b"SSL_A=" + b"x" * (MAX_ANSWER - 8) + b"\0\0",
        {b"SSL_A": b"x" * (MAX_ANSWER - 8)},
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer(name: str, server: Server) -> None:
    """The server's variables whose names begin with SSL are kept, and no others."""
    answer, told = ANSWERS[name]
    with Child(answered, server.fds) as child:
        server.control.sendall(answer)
        assert (None, told) == child.result()


@pytest.mark.parametrize("name", [name for name in ANSWERS if not name.startswith("as long")])
def test_an_answer_byte_by_byte(name: str, server: Server) -> None:
    """It may come in pieces of any size, also on a socket that does not block."""
    answer, told = ANSWERS[name]
    os.set_blocking(server.fds[CONTROL], False)
    with Child(answered, server.fds) as child:
        server.control.recv(1)
        for byte in answer:
            server.control.sendall(bytes([byte]))
        assert (None, told) == child.result()


@pytest.mark.parametrize(
    "answer",
    [
        b"x" * (MAX_ANSWER + 1),
        b"SSL_A=" + b"x" * (MAX_ANSWER - 7) + b"\0\0",
        b"x" * MAX_ANSWER + b"y\0\0",
        b"x\0" * 40_000 + b"\0",
    ],
    ids=["endless", "one byte too long", "some bytes too long", "far too long"],
)
def test_too_long_an_answer(answer: bytes, server: Server) -> None:
    """Over 64 KiB it is a failed handshake, whatever it says."""
    assert 64 * 1024 == MAX_ANSWER
    with Child(answered, server.fds) as child:
        server.hand_over()
        with suppress(OSError):  # it is not read to its end
            server.control.sendall(answer)
        assert (FAILED, {}) == child.result()


def test_an_answer_that_grows_too_long(server: Server) -> None:
    """Also where at no time it is exactly as long as may be."""
    with Child(answered, server.fds) as child:
        server.hand_over()
        server.control.sendall(b"SSL_A=")
        until(lambda: not _unread(server.control))
        with suppress(OSError):  # as above
            server.control.sendall(b"x" * 2 * MAX_ANSWER)
        assert (FAILED, {}) == child.result()


def _unread(sender: socket.socket) -> bool:
    """Whether something that was sent has not been read yet."""
    return fcntl.ioctl(sender, termios.TIOCOUTQ, bytes(4)) != bytes(4)


@pytest.mark.parametrize("said", [b"", b"SSL_A=1", b"SSL_A=1\0"])
def test_the_control_socket_ends_before_the_answer(said: bytes, server: Server) -> None:
    """That is how a server may tell that the handshake failed."""
    server.control.sendall(said)
    with Child(answered, server.fds) as child:
        server.hand_over()
        assert b"Y" == server.control.recv(1)
        server.control.close()
        assert (FAILED, {}) == child.result()


def test_an_error_on_the_control_socket(server: Server) -> None:
    """A reset is as much a failure as its end."""

    def task() -> str | None:
        handshake = started()
        os.write(handshake.control, b"x")
        os.read(20, 1)
        return until_heard(handshake)

    reader, writer = os.pipe()
    with Child(task, server.fds | {20: reader}) as child:
        server.hand_over()
        while len(server.control.recv(2, socket.MSG_PEEK)) < 2:
            pass  # the popup's two writes are not yet both here
        server.control.close()  # with something unread: a reset
        os.write(writer, b"!")
        assert FAILED == child.result()
    descriptors.close({reader, writer})


def test_nothing_to_read_after_all(server: Server) -> None:
    """Where somebody else has taken the answer, the wait goes on."""
    os.set_blocking(server.fds[CONTROL], False)

    def task() -> tuple[str | None, bool]:
        handshake = started()
        return handshake.ended([handshake.control]), len(handshake.descriptors()) > 0

    assert (None, True) == run(task, server.fds)
