"""Descriptors 0 and 1, on real ones: in a forked child that has a socket or a pipe there."""

import os
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from qmail_popup.wire import DISCONNECTED, MAX_UNFINISHED, TIMEOUT, Wire, wipe
from tests.support import descriptors
from tests.support.child import Child, run
from tests.support.descriptors import Line, pipe_line, socket_line
from tests.support.pipes import small_pipe

MOST = 64
IDLE = 30
SECRET = b"a secret that nobody may find"

LineOf = Callable[[], tuple[Line, int, int]]


@pytest.fixture(params=[socket_line, pipe_line], ids=["socket", "pipe"])
def network(request: pytest.FixtureRequest) -> Iterator[tuple[Line, dict[int, int]]]:
    """Return a client's line, and a child's descriptors 0 and 1 for it."""
    line, reader, writer = request.param()
    yield line, {0: reader, 1: writer}
    line.close()
    descriptors.close({reader, writer})


def lines(allowed: int = MOST, *, idle: int = IDLE, most: int = MOST) -> Callable[[], list[bytes | str]]:
    """Return a task that reads lines until the session ends, and the word for that."""

    def task() -> list[bytes | str]:
        wire, got = Wire(idle, most), list[bytes | str]()
        while isinstance(line := wire.line(lambda _line: allowed), bytearray):
            got.append(bytes(line))
        return [*got, line]

    return task


def reply(data: bytes, *, idle: int = IDLE) -> Callable[[], str | None]:
    """Return a task that writes `data`."""
    return lambda: Wire(idle, MOST).reply(data)


CASES = {
    "one line": (b"NOOP\r\n", [b"NOOP\r"]),
    "empty lines": (b"\n\n\r\n", [b"", b"", b"\r"]),
    "an unfinished line": (b"a\nb", [b"a"]),
    "nothing": (b"", []),
    "the longest line": (b"x" * MOST + b"\nb\n", [b"x" * MOST, b"b"]),
    "one byte more": (b"x" * MOST + b"y\nb\n", [b"x" * MOST + b"y", b"b"]),
    "two bytes more": (b"x" * MOST + b"yz\nb\n", [b"x" * MOST + b"y", b"b"]),
    "much more": (
        b"x" * MOST + b"y" * 999 + b"\n" + b"b" * 200 + b"\nc\n",
        [b"x" * MOST + b"y", b"b" * 65, b"c"],
    ),
    "bytes of all kinds": (bytes(range(256)), [bytes(range(10))]),
}


@pytest.mark.parametrize("allowed", [1, 7, MOST - 1], ids=lambda allowed: f"allowed {allowed}")
@pytest.mark.parametrize(("said", "wanted"), CASES.values(), ids=CASES.keys())
def test_lines(said: bytes, wanted: list[bytes], allowed: int, network: tuple[Line, dict[int, int]]) -> None:
    """Lines come without their LF, cut one byte behind the limit, however much may be read at once."""
    line, fds = network
    line.send(said)
    line.end()
    assert [*wanted, DISCONNECTED] == run(lines(allowed), fds)


@pytest.mark.parametrize(("said", "wanted"), CASES.values(), ids=CASES.keys())
def test_lines_in_pieces(said: bytes, wanted: list[bytes], network: tuple[Line, dict[int, int]]) -> None:
    """They are the same when they come byte by byte, on a descriptor that does not block."""
    line, fds = network
    os.set_blocking(fds[0], False)
    with Child(lines(), fds) as child:
        for byte in said:
            line.send(bytes([byte]))
        line.end()
        assert [*wanted, DISCONNECTED] == child.result()


def test_no_more_is_read_than_is_allowed(network: tuple[Line, dict[int, int]]) -> None:
    """Each time it is told by what there is of the line how much may be read, and reads just that."""
    line, fds = network
    line.send(b"abcdef\nrest")
    asked: list[bytes] = []

    def three(begun: memoryview) -> int:
        asked.append(bytes(begun))
        return 3

    def task() -> tuple[bytes, list[bytes], bytes]:
        got = Wire(IDLE, MOST).line(three)
        return bytes(got) if isinstance(got, bytearray) else b"", asked, os.read(0, 99)

    assert (b"abcdef", [b"", b"abc", b"abcdef"], b"st") == run(task, fds)


def test_a_line_that_never_ends_takes_no_memory(network: tuple[Line, dict[int, int]]) -> None:
    """A mebibyte of one line takes no more than the buffer that all lines go through."""
    line, fds = network

    def task() -> int:
        tracemalloc.start()
        assert DISCONNECTED == Wire(IDLE, 4096).line(lambda _line: 4000)
        return tracemalloc.get_traced_memory()[1]

    with Child(task, fds) as child:
        descriptors.close(fds.values())
        line.send(b"x" * MAX_UNFINISHED)
        line.end()
        assert child.result() < 32_000  # bytes, at the peak


@pytest.mark.parametrize("allowed", [MOST - 1, 1000])
@pytest.mark.parametrize(
    ("size", "end", "wanted"),
    [
        (MAX_UNFINISHED, b"\nb\n", [b"x" * 1001, b"b", DISCONNECTED]),
        (MAX_UNFINISHED + 1, b"\nb\n", [DISCONNECTED]),
        (MAX_UNFINISHED + 1, b"", [DISCONNECTED]),
    ],
    ids=["as long as can be", "one byte more", "one byte more and no end"],
)
def test_a_line_beyond_a_mebibyte_ends_the_session(
    size: int, end: bytes, wanted: list[bytes | str], allowed: int, network: tuple[Line, dict[int, int]]
) -> None:
    """Wherever its end may be, and with the client still there: nobody waits for more of it."""
    line, fds = network
    with Child(lines(allowed, most=1000), fds) as child:
        descriptors.close(fds.values())
        line.send(b"x" * size + end)
        if wanted[1:]:
            line.end()
        assert wanted == child.result()


def test_a_busy_client_is_timed_out(network: tuple[Line, dict[int, int]]) -> None:
    """However many lines come, the session ends when the time is over, unless that was called off."""
    line, fds = network

    def task() -> str:
        wire = Wire(IDLE, MOST, 1)
        while isinstance(got := wire.line(lambda _line: MOST), bytearray):
            assert b"NOOP" == got
        return got

    with Child(task, fds) as child:
        descriptors.close(fds.values())
        with suppress(BrokenPipeError, ConnectionResetError):
            while True:
                line.send(b"NOOP\n")
                time.sleep(0.001)
        assert TIMEOUT == child.result()


def test_a_deadline_that_was_called_off(network: tuple[Line, dict[int, int]]) -> None:
    """What is read and written behind it takes as long as it takes."""
    line, fds = network
    line.send(b"NOOP\n")

    def task() -> list[object]:
        wire = Wire(IDLE, MOST, 1)
        wire.deadline = None
        time.sleep(1.1)
        return [wire.line(lambda _line: MOST), wire.reply(b"+OK\r\n")]

    assert [b"NOOP", None] == run(task, fds)


@pytest.mark.parametrize("before", [b"", b"x" * MOST], ids=["short", "over-long"])
@pytest.mark.parametrize("behind", [b"\n", b"\nmore", b""])
def test_nothing_of_a_line_stays_in_the_buffer(
    before: bytes, behind: bytes, network: tuple[Line, dict[int, int]]
) -> None:
    """Once a line has been taken, or the session has ended in the middle of it, its bytes are gone."""
    line, fds = network
    line.send(before + SECRET + behind)
    line.end()

    def task() -> bool:
        buffers: list[memoryview] = []

        def allow(begun: memoryview) -> int:
            buffers.append(begun)
            return len(SECRET) if len(begun) <= MOST else 1

        Wire(IDLE, MOST).line(allow)
        return any(SECRET[start : start + 9] in bytes(buffers[0].obj) for start in range(len(SECRET) - 8))

    assert not run(task, fds)


def test_wiping_is_done_in_place() -> None:
    """Every view of the buffer sees it wiped, and its length stays."""
    buffer = bytearray(b"secret")
    view = memoryview(buffer)
    wipe(buffer)
    assert bytes(6) == bytes(view)


def test_what_is_left_in_the_buffer_moves_up(network: tuple[Line, dict[int, int]]) -> None:
    """Several lines that were read at once come one after the other, and cost no further read."""
    line, fds = network
    line.send(b"a\nbb\nccc\n")

    def task() -> list[bytes]:
        wire, allowances = Wire(IDLE, MOST), iter([MOST])
        got = [wire.line(lambda _line: next(allowances)) for _ in range(3)]
        return [bytes(one) for one in got if isinstance(one, bytearray)]

    assert [b"a", b"bb", b"ccc"] == run(task, fds)


@pytest.mark.parametrize("network", [socket_line], indirect=True)
def test_an_idle_client_is_timed_out(network: tuple[Line, dict[int, int]]) -> None:
    """Where nothing comes within the idle timeout, and not before, the session ends with that word."""
    line, fds = network
    line.send(b"NOOP\nNO")
    began = time.monotonic()
    assert [b"NOOP", TIMEOUT] == run(lines(idle=1), fds)
    assert 0.99 < time.monotonic() - began


@pytest.mark.parametrize("network", [socket_line], indirect=True)
def test_nothing_is_left_of_a_line_that_was_given_up(network: tuple[Line, dict[int, int]]) -> None:
    """What comes behind a timeout is a line of its own."""
    line, fds = network
    line.send(b"NO")

    def task() -> tuple[object, object]:
        wire = Wire(1, MOST)
        given_up = wire.line(lambda _line: 9)
        os.write(4, b"OP\n")
        return given_up, wire.line(lambda _line: 9)

    assert (TIMEOUT, b"OP") == run(task, fds | {4: line.writer})


@pytest.mark.parametrize("network", [socket_line], indirect=True)
def test_each_byte_begins_the_timeout_anew(network: tuple[Line, dict[int, int]]) -> None:
    """A slow client is no idle client."""
    line, fds = network
    with Child(lines(idle=2), fds) as child:
        for byte in (b"a", b"\n"):
            time.sleep(1.1)
            line.send(byte)
        line.end()
        assert [b"a", DISCONNECTED] == child.result()


@pytest.mark.parametrize("fds", [{}, {1: 1}], ids=["both", "0"])
def test_a_closed_descriptor_is_a_client_that_has_gone(fds: dict[int, int]) -> None:
    """Reading or writing what is not open ends the session as a lost client does."""
    assert [DISCONNECTED] == run(lines(), fds)
    assert DISCONNECTED == run(reply(b"+OK\r\n"))


def test_a_directory_cannot_be_read(tmp_path: os.PathLike[str]) -> None:
    """An error that is not about waiting ends the session."""
    directory = os.open(tmp_path, os.O_RDONLY)
    assert [DISCONNECTED] == run(lines(), {0: directory})
    os.close(directory)


def test_a_reset_is_a_client_that_has_gone() -> None:
    """A connection that is reset while it is read ends the session."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        server, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with server:
            assert [DISCONNECTED] == run(lines(), {0: server.fileno()})


def test_a_reply_to_nobody(network: tuple[Line, dict[int, int]]) -> None:
    """A client that has gone ends the session where it is written to, and no signal ends the process."""
    line, fds = network
    line.close()
    assert DISCONNECTED == run(reply(b"+OK\r\n"), fds)


def test_a_reply_is_one_write() -> None:
    """A reply that has room leaves in one piece."""
    reader, writer = descriptors.packet_pipe()
    assert None is run(reply(b"+OK \r\n"), {1: writer})
    assert [b"+OK \r\n"] == descriptors.writes(reader)
    descriptors.close({reader, writer})


def test_a_reply_of_nothing_writes_nothing() -> None:
    """Where somebody else will speak, nothing is written, and descriptor 1 is not even looked at."""
    assert None is run(reply(b""))


def test_a_reply_in_pieces() -> None:
    """What the network takes only in pieces arrives whole and in order."""
    data = b"".join(b"%06d\r\n" % number for number in range(10_000))
    reader, writer = small_pipe()
    with Child(reply(data), {1: writer}) as child:
        os.close(writer)
        assert data == Line(reader, -1).receive_all()
        assert None is child.result()
    os.close(reader)


def test_a_client_that_never_reads_is_timed_out() -> None:
    """A write that finds no room within the idle timeout ends the session with that word."""
    reader, writer = small_pipe()
    assert TIMEOUT == run(reply(b"x" * 9999, idle=1), {1: writer})
    descriptors.close({reader, writer})
