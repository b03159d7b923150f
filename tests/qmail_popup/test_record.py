"""The record: its grammar in process, its way onto a descriptor in a forked child."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail_popup import record
from tests.support import descriptors
from tests.support.chance import examples
from tests.support.child import Child, run
from tests.support.descriptors import Line

LINE = b"qmail-popup: pid 7 Accept::AUTH::User P:POP3 S:192.0.2.1:a.example ?~ 'bob'\n"
PIPE_BUF = 4096


def composed(ip: bytes = b"192.0.2.1", host: bytes = b"a.example", name: bytes = b"bob") -> bytes:
    """Return a record of one client and one name."""
    return record.compose(pid=7, verdict=b"Accept::AUTH::User", protocol=b"POP3", ip=ip, host=host, name=name)


def test_a_record() -> None:
    """It is one line, as fail2ban and scripts read it."""
    assert LINE == composed()


ALL = bytes(range(256))
VISIBLE = bytes(byte if 33 <= byte <= 126 else ord("?") for byte in ALL)


@pytest.mark.parametrize("start", [0, 128])
def test_each_byte_in_each_field(start: int) -> None:
    """A name shows all but control bytes, an address what can be seen, a host that without colons."""
    text, visible = ALL[start : start + 128], VISIBLE[start : start + 128]
    name = bytes(ord("?") if byte < 32 or byte == 127 else byte for byte in text)
    assert b"S:%s:h ?~ 'n'\n" % visible == names(composed(text, b"h", b"n"))
    assert b"S:i:%s ?~ 'n'\n" % visible.replace(b":", b"?") == names(composed(b"i", text, b"n"))
    assert b"S:i:h ?~ '%s'\n" % name == names(composed(b"i", b"h", text))


def names(line: bytes) -> bytes:
    """Return what of a record the client and its name server chose."""
    return line.removeprefix(b"qmail-popup: pid 7 Accept::AUTH::User P:POP3 ")


@pytest.mark.parametrize(
    ("size", "name", "other"),
    [
        (0, b"", b""),
        (254, b"n" * 254, b"n" * 254),
        (255, b"n" * 255, b"n" * 255),
        (256, b"n" * 255 + b"...", b"n" * 255),
        (4091, b"n" * 255 + b"...", b"n" * 255),
    ],
)
def test_long_fields(size: int, name: bytes, other: bytes) -> None:
    """Each is cut at 255 bytes, and only a name says so."""
    text = b"n" * size
    assert b"S:%s:%s ?~ '%s'\n" % (other, other, name) == names(composed(text, text, text))


@examples(300)
@given(
    st.integers(1, 2**22),
    st.sampled_from([b"Accept::AUTH::User", b"Reject::AUTH::Apop", b"Reject::STLS::Any"]),
    st.sampled_from([b"POP3", b"POP3S"]),
    st.binary(max_size=300),
    st.binary(max_size=300) | st.sampled_from([b"a ?~ 'b'", b"a:b", b"::"]),
    st.binary(max_size=300)
    | st.sampled_from([b"' P:POP3S S:1.2.3.4:x ?~ '", b"a ?~ 'b", b"x'\nqmail-popup: pid 1"]),
)
def test_a_record_reads_back(  # noqa: PLR0913, PLR0917 - hypothesis names each of them
    pid: int, verdict: bytes, protocol: bytes, ip: bytes, host: bytes, name: bytes
) -> None:
    """From the left, a record reads back without doubt, whatever a client or its name server chose."""
    line = record.compose(pid=pid, verdict=verdict, protocol=protocol, ip=ip, host=host, name=name)
    assert line.endswith(b"'\n")
    assert 1 == line.count(b"\n")
    assert len(line) < PIPE_BUF
    before, _, shown = line[:-2].partition(b" ?~ '")
    head, _, names = before.partition(b" S:")
    shown_ip, _, shown_host = names.rpartition(b":")
    assert b"qmail-popup: pid %d %s P:%s" % (pid, verdict, protocol) == head
    assert (ip[:255], host[:255]) == (same(shown_ip, ip), same(shown_host, host))
    assert name[:255] == same(shown.removesuffix(b"...") if len(name) > 255 else shown, name)


def same(shown: bytes, given_bytes: bytes) -> bytes:
    """Return `shown` with what each `?` may stand for."""
    pairs = zip(shown, given_bytes, strict=False)
    return bytes(real if char == ord("?") else char for char, real in pairs)


def test_how_long_a_log_is_waited_for() -> None:
    """No record waits for longer than half a minute."""
    assert 30 == record.TIMEOUT_SECONDS


def append(patience: float = 30.0, hang_up: Callable[[], None] = lambda: None) -> None:
    """Append the record to descriptor 5."""
    record.append(5, LINE, patience, hang_up)


def test_it_is_appended_in_one_write() -> None:
    """A log with room gets the line whole, and nobody is hung up on."""
    reader, writer = descriptors.packet_pipe()

    def task() -> tuple[float, float]:
        append(hang_up=lambda: os.close(5))
        return signal.getitimer(signal.ITIMER_REAL)

    assert (0.0, 0.0) == run(task, {5: writer})
    assert [LINE] == descriptors.writes(reader)
    descriptors.close({reader, writer})


def gone_pipe() -> int:
    """Return a pipe that nobody can read."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    "log",
    [gone_pipe, lambda: os.open("/dev/full", os.O_WRONLY), lambda: os.open(os.devnull, os.O_RDONLY)],
    ids=["a pipe without a reader", "a full disk", "read only"],
)
def test_a_log_that_fails_fails_nothing(log: Callable[[], int]) -> None:
    """An error is no fault, whatever it is, and the timer is off behind it."""
    fd = log()

    def task() -> tuple[float, float]:
        append()
        return signal.getitimer(signal.ITIMER_REAL)

    assert (0.0, 0.0) == run(task, {5: fd})
    os.close(fd)


def test_a_log_that_is_not_open_fails_nothing() -> None:
    """A descriptor that has been closed meanwhile is no fault either."""
    run(append)


@pytest.fixture(params=[True, False], ids=["blocking", "non-blocking"])
def full(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Return a pipe that is full."""
    reader, writer = os.pipe()
    descriptors.fill(writer)
    os.set_blocking(writer, request.param)
    yield reader, writer
    descriptors.close({reader, writer})


def test_a_full_log_is_waited_for(full: tuple[int, int]) -> None:
    """Where there is no room, the client is let go, and the line is there once somebody reads."""
    reader, writer = full
    told, tell = os.pipe()
    blocking = os.get_blocking(writer)
    with Child(lambda: append(hang_up=lambda: os.close(4)), {4: tell, 5: writer}) as child:
        os.close(tell)
        assert b"" == os.read(told, 1)  # hung up on
        assert blocking == os.get_blocking(writer)
        os.close(writer)
        assert Line(reader, -1).receive_all().endswith(b"x" + LINE)
        child.result()
    os.close(told)


def test_a_full_log_is_given_up(full: tuple[int, int]) -> None:
    """After its patience, and not before; nothing is written, the timer is off, the flags are the same."""
    reader, writer = full

    def task() -> tuple[float, bool, tuple[float, float]]:
        began, blocking = time.monotonic(), os.get_blocking(5)
        append(0.5)
        return time.monotonic() - began, blocking == os.get_blocking(5), signal.getitimer(signal.ITIMER_REAL)

    took, kept, timer = run(task, {5: writer})
    os.close(writer)
    assert 0.5 <= took
    assert kept
    assert (0.0, 0.0) == timer
    assert LINE not in Line(reader, -1).receive_all()


def test_signals_of_the_caller_s_do_not_matter(full: tuple[int, int]) -> None:
    """An alarm that the caller had blocked or ignored still ends the wait."""
    _reader, writer = full

    def task() -> str:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        append(0.3)
        return "gave up"

    assert "gave up" == run(task, {5: writer})


def test_hanging_up_comes_first_and_may_come_again(full: tuple[int, int]) -> None:
    """Each time that it wakes up it hangs up, beginning long before its patience is over."""
    _reader, writer = full

    def task() -> list[float]:
        began, times = time.monotonic(), list[float]()
        append(1.0, lambda: times.append(time.monotonic() - began))
        return times

    times = run(task, {5: writer})
    assert 0.05 < times[0]
    assert len(times) > 2  # so it began before the end


def test_a_datagram_log() -> None:
    """A log that is a socket takes it as one message."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        run(append, {5: theirs.fileno()})
        assert LINE == ours.recv(PIPE_BUF)
