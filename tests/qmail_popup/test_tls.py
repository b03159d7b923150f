"""UCSPI-TLS from the popup's side: in a forked child, with the server's ends held by the test."""

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from qmail_popup import tls
from tests.support.child import Child, run
from tests.support.handshake import (
    CONTROL,
    READ,
    WRITE,
    Server,
    offered,
    started,
)


@pytest.mark.parametrize(
    "named",
    [
        [10, 11, 12],
        [10, 10, 10],
        [3, 5, 2],
        [10, 0, 1],
        [0, 0, 0],
        [],
        [10, 11],
        [10, 11, 12, 13],
        [99, 11, 12],
        [10, 99, 12],
        [10, 11, 99],
        [10, 11, 1_000_000],
    ],
    ids=str,
)
def test_claiming(named: list[int]) -> None:
    """Those that are open are told; each of them becomes the popup's own, but the network's two."""
    spare = os.open(os.devnull, os.O_RDWR)
    opened = (0, 1, 2, 3, 5, 10, 11, 12, 13)

    def task() -> tuple[list[int], list[int]]:
        claimed = tls.claim(named)
        return claimed, [fd for fd in opened if not os.get_inheritable(fd)]

    claimed, kept = run(task, dict.fromkeys(opened, spare))
    assert [fd for fd in named if fd in opened] == claimed
    assert sorted({*named} & {*opened} - {0, 1}) == kept
    os.close(spare)


def test_a_closed_network_is_not_claimed() -> None:
    """A number that names descriptor 0 or 1 must be open too."""
    assert ([], []) == run(lambda: (tls.claim([0, 0, 0]), tls.claim([1, 1, 1])))


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server that has offered TLS."""
    with offered() as server:
        yield server


def test_starting(server: Server) -> None:
    """The server is asked with a Y, and its pipes become 0 and 1."""
    os.write(server.writer, b"from the server")

    def task() -> tuple[bytes, int, object]:
        handshake = started()
        return os.read(0, 99), os.write(1, b"to the server"), handshake.answer

    assert (b"from the server", 13, {}) == run(task, server.fds)
    assert b"Y" == server.control.recv(9)
    assert b"to the server" == os.read(server.reader, 99)


def test_nothing_is_left_behind(server: Server) -> None:
    """Of the three numbers none stays, and what the popup keeps instead is not for the subprogram."""

    def task() -> tuple[bool, list[int], list[int]]:
        handshake = started()
        alive = [fd for fd in range(64) if _is_open(fd)]
        others = set(alive) - {0, 1, handshake.control, *handshake.descriptors()}
        return (
            handshake.control in alive,
            [fd for fd in alive if fd > 1 and os.get_inheritable(fd)],
            list(others),
        )

    control_is_open, inherited, others = run(task, server.fds)
    assert control_is_open
    assert [] == inherited
    assert 1 == len(others)  # the other end of the pipe that wakes the popup up


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("numbers", [(3, 5, 2), (10, 1, 0), (10, 0, 1), (1, 10, 11), (10, 11, 1)], ids=str)
def test_the_numbers_may_be_any(numbers: tuple[int, int, int]) -> None:
    """Each descriptor is used as it was at the start, though its number is another's by then."""
    pairs = [socket.socketpair() for _ in numbers]
    fds = {number: far.fileno() for number, (_, far) in zip(numbers, pairs, strict=True)}

    def task() -> None:
        assert tls.start(numbers)
        os.write(1, os.read(0, 99).upper())

    with Child(task, fds) as child:
        for _, far in pairs:
            far.close()
        (control, _), (writer, _), (reader, _) = pairs
        writer.sendall(b"said")
        assert (b"Y", b"SAID") == (control.recv(9), reader.recv(9))
        child.result()
    for near, _ in pairs:
        near.close()


def test_one_number_for_all_three() -> None:
    """One socket may be the control socket, the input and the output."""
    near, far = socket.socketpair()

    def task() -> int:
        assert tls.start([7, 7, 7])
        return os.write(1, b"x")

    with near, far:
        assert 1 == run(task, {7: far.fileno()})
        assert b"Yx" == near.recv(9)


def test_a_server_that_cannot_be_asked(server: Server) -> None:
    """Without its end of the control socket, TLS is not started, and SIGTERM is what it was."""
    server.control.close()

    def task() -> tuple[object, object, int]:
        return tls.start([CONTROL, READ, WRITE]), signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)

    assert (None, signal.SIG_DFL, -1) == run(task, server.fds)


def test_descriptors_that_have_gone() -> None:
    """A number that names nothing by now fails the start, and no signal is touched."""
    assert (None, signal.SIG_DFL) == run(lambda: (tls.start([10, 11, 12]), signal.getsignal(signal.SIGTERM)))
