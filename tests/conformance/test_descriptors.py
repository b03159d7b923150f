"""UCSPI-TLS descriptors that are the network's own two, so that moving one may run over the other."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.descriptors import Line
from tests.support.popup import HOST, Popup, shell

_REPEAT = shell("tr '\\0' '\\n' <&3; cat; echo to 2 >&2")
"""Shows what it was given and what is left on descriptor 0, and speaks on descriptor 2."""


@pytest.fixture
def ends() -> Iterator[dict[int, tuple[socket.socket, socket.socket]]]:
    """Return sockets for 0, 1 and two more numbers, each with its far end, so that it shows which is used."""
    with ExitStack() as stack:
        pairs = {number: socket.socketpair() for number in (0, 1, 10, 11, 12)}
        for pair in pairs.values():
            for end in pair:
                stack.enter_context(end)
        yield pairs


@pytest.mark.parametrize(
    ("read_end", "write_end"), [(1, 0), (10, 0), (1, 11), (0, 1), (0, 11), (10, 1), (1, 1), (0, 0)]
)
def test_the_two_pipes_may_be_the_network_s_own_numbers(
    popup: list[str], ends: dict[int, tuple[socket.socket, socket.socket]], read_end: int, write_end: int
) -> None:
    """SSLREADFD moves to 0 and SSLWRITEFD to 1 as they were at the start, whatever the numbers."""
    env = {
        "PATH": os.environ["PATH"],
        "UCSPITLS": "",
        "SSLCTLFD": "12",
        "SSLREADFD": str(read_end),
        "SSLWRITEFD": str(write_end),
    }
    near = {number: pair[0] for number, pair in ends.items()}
    fds = {number: pair[1].fileno() for number, pair in ends.items()}
    clear, secure = (
        Line(os.dup(near[writes].fileno()), os.dup(near[reads].fileno()))
        for reads, writes in ((0, 1), (read_end, write_end))
    )
    with Popup(popup, _REPEAT, env=env, fds=fds) as running:
        for _, far in ends.values():
            far.close()
        _start_tls(clear, near[12])
        secure.send(b"USER bob\r\nPASS x\r\nSTAT\r\n")
        secure.end()
        said = secure.receive_all().splitlines()
        assert 0 == running.status()
    clear.close()
    secure.close()
    assert [b"+OK ", b"bob", b"x"] == said[:3]
    assert said[3].endswith(f"@{HOST}>".encode())
    assert [b"STAT", b"to 2"] == said[4:]


def _start_tls(clear: Line, control: socket.socket) -> None:
    assert b"+OK\r\n" == clear.receive_line()
    clear.send(b"STLS\r\n")
    assert b"+OK starting TLS negotiation\r\n" == clear.receive_line()
    assert b"Y" == control.recv(1)
    control.sendall(b"\0")
