"""Lines that wait for room: in order, bounded, and nobody waits with them."""

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qmail_popup.listener.process import output
from qmail_popup.listener.process.loop import Loop
from qmail_popup.listener.process.output import Output


class Ends:
    """An output, what it has done, and the other end of its descriptor."""

    def __init__(self, reader: int, writer: int) -> None:
        """Write to `writer`."""
        self.loop, self.reader, self.writer = Loop(), reader, writer
        self.done: list[int] = []
        self.complaints: list[str] = []
        self.output = Output(self.loop, writer, self.done.append, self.complaints.append)

    def fill(self) -> None:
        """Leave no room."""
        os.set_blocking(self.writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writer, bytes(4096))
        os.set_blocking(self.writer, True)

    def drain(self) -> bytes:
        """Read all that is there."""
        os.set_blocking(self.reader, False)
        data = b""
        with suppress(BlockingIOError):
            while chunk := os.read(self.reader, 1 << 20):
                data += chunk
        return data.lstrip(b"\0")


@pytest.fixture(params=["pipe", "pipe of another user", "socket"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """Return an output onto each kind of descriptor that can be full, blocking as it is inherited."""
    near, far = (end.detach() for end in socket.socketpair()) if request.param == "socket" else os.pipe()
    if request.param == "pipe of another user":
        monkeypatch.setattr(output, "_DESCRIPTORS", "/proc/self/no-such-directory")
    made = Ends(near, far)
    yield made
    made.output.close()
    os.close(near)
    os.close(far)


def test_a_line_is_written_at_once(ends: Ends) -> None:
    """Where there is room nothing waits."""
    ends.output.put(b"one\n", 1)
    assert ([1], b"one\n", 0) == (ends.done, ends.drain(), len(ends.output))


def test_lines_wait_in_order(ends: Ends) -> None:
    """Where there is none they wait, and are written in their order, one that comes later too."""
    ends.fill()
    for number in range(3):
        ends.output.put(b"%d\n" % number, number)
    assert ([], 3) == (ends.done, len(ends.output))
    ends.drain()
    while ends.output:
        ends.loop.turn()
    ends.output.put(b"3\n", 3)
    assert [0, 1, 2, 3] == ends.done
    assert b"0\n1\n2\n3\n" == ends.drain()
    assert [] == ends.complaints


def test_the_oldest_is_given_up(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more wait than may, and two lines tell of it, each time: when it begins, and when it is over."""
    monkeypatch.setattr(output, "MAX_WAITING", 2)
    for _ in range(2):
        ends.fill()
        for number in range(5):
            ends.output.put(b"%d\n" % number, number)
        assert [0, 1, 2] == ends.done[-3:]
        ends.drain()
        while ends.output:
            ends.loop.turn()
        assert b"3\n4\n" == ends.drain()
    fd = ends.writer
    assert [
        f"descriptor {fd} is blocked: dropping the oldest lines",
        f"descriptor {fd} accepts lines again; 3 were lost",
    ] * 2 == ends.complaints


def test_all_are_given_up(ends: Ends) -> None:
    """Nothing waits any more, nothing is written later, and one line tells of it."""
    ends.fill()
    for number in range(3):
        ends.output.put(b"%d\n" % number, number)
    ends.output.give_up_all()
    assert ([0, 1, 2], 0) == (ends.done, len(ends.output))
    assert b"" == ends.drain()
    assert [f"descriptor {ends.writer} is blocked: dropping the oldest lines"] == ends.complaints


def test_nobody_reads(ends: Ends) -> None:
    """A line that nobody can read is done with."""
    replacement = os.open(os.devnull, os.O_RDONLY)
    os.dup2(replacement, ends.reader)
    os.close(replacement)
    ends.output.put(b"one\n", 1)
    assert [1] == ends.done


def test_the_flags_are_not_ours(ends: Ends) -> None:
    """The descriptor that others have, too, blocks as it did."""
    ends.output.put(b"one\n", 1)
    assert os.get_blocking(ends.writer)


def test_a_file(tmp_path: Path) -> None:
    """A file is appended to, as it was opened."""
    path = tmp_path / "log"
    path.write_text("before\n")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    assert stat.S_ISREG(os.fstat(fd).st_mode)
    done: list[int] = []
    Output(Loop(), fd, done.append, lambda _: None).put(b"behind\n", 1)
    os.close(fd)
    assert ("before\nbehind\n", [1]) == (path.read_text(), done)


@pytest.fixture
def tcp() -> Iterator[Ends]:
    """Return an output onto a TCP connection, which may take part of a line."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as near:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        near.connect(server.getsockname())
        far, _ = server.accept()
        with far:
            made = Ends(far.fileno(), near.fileno())
            yield made
            made.output.close()


def test_part_of_a_line(tcp: Ends) -> None:
    """The rest is written as soon as there is room: no line is torn, and none comes twice."""
    lines = [b"%d %s\n" % (number, b"x" * 1000) for number in range(8000)]
    for number, line in enumerate(lines):
        tcp.output.put(line, number)
    assert tcp.output
    assert b"".join(lines) == _read_in_pieces(tcp)
    assert [*range(len(lines))] == tcp.done


def test_part_of_a_line_is_not_given_up(tcp: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the lines that wait, the oldest is dropped of which nothing is written."""
    monkeypatch.setattr(output, "MAX_WAITING", 2)
    count = 0
    while len(tcp.complaints) < 1 or count % 100:
        tcp.output.put(b"%d %s\n" % (count, b"x" * 999), count)
        count += 1
    lines = _read_in_pieces(tcp).splitlines()
    numbers = [int(line.removesuffix(b" " + b"x" * 999)) for line in lines]
    assert count - 1 == numbers[-1]
    assert sorted({*numbers}) == numbers
    assert [*range(count)] == sorted(tcp.done)


def _read_in_pieces(ends: Ends) -> bytes:
    """Read what is written until no line waits."""
    received = bytearray()

    def read() -> None:
        while data := os.read(ends.reader, 777):
            received.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    while ends.output:
        ends.loop.turn()
    with socket.socket(fileno=os.dup(ends.writer)) as writer:
        writer.shutdown(socket.SHUT_WR)
    reader.join()
    return bytes(received)
