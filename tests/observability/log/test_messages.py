"""Lines on their way to a descriptor, and the sidecar's own messages."""

import errno
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from observability.errors import Errors, describe
from observability.log.messages import Messages, Stream
from tests.support.descriptors import CHECKOUT
from tests.support.waiting import TIMEOUT


class Pipe:
    """A stream and what comes out of it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.stream = Stream(self.writing, TIMEOUT, 1_000_000)

    def lines(self) -> list[str]:
        """Close the stream; return all that it wrote."""
        self.stream.close()
        os.close(self.writing)
        with open(self.reading, encoding="utf-8") as reader:
            return reader.read().splitlines()


def test_a_reader_who_is_gone_ends_nothing() -> None:
    """Nothing raises, and the thread ends."""
    pipe = Pipe()
    os.close(pipe.reading)
    assert pipe.stream.put(b"line\n")
    pipe.stream.close()
    os.close(pipe.writing)


def test_a_stream_that_stalls_is_left_at_the_end() -> None:
    """Closing it takes no longer than the timeout says."""
    reading, writing = os.pipe()
    stream = Stream(writing, timeout=0.05)
    assert stream.put(b"x" * 200_000)
    stream.close()
    os.read(reading, 1)
    os.close(reading)
    stream.close()
    os.close(writing)


@pytest.mark.parametrize(
    ("as_json", "expected"),
    [
        (False, "qmail-popup-sidecar: it's so"),
        (True, '{"timestamp": "1970-01-01T00:00:05.000+00:00", "level": "warning", "message": "it\'s so"}'),
    ],
)
def test_a_message_is_one_line(as_json: bool, expected: str) -> None:  # noqa: FBT001  pytest gives it so
    """For a person, or in the form of the log."""
    pipe = Pipe()
    Messages(pipe.stream, lambda: 5.0, as_json=as_json)("warning", "it's so")
    assert [expected] == pipe.lines()


def test_a_message_may_name_any_file() -> None:
    """Somebody else has chosen the name: it stays one line of text, and can be written."""
    pipe = Pipe()
    name = os.fsdecode(b"taken.\xff\nqmail-popup-sidecar: forged \x1b[31m")
    Messages(pipe.stream, lambda: 5.0, as_json=False)("warning", f"cannot drain {name}")
    said = r"cannot drain taken.\udcff\nqmail-popup-sidecar: forged \x1b[31m"
    assert [f"qmail-popup-sidecar: {said}"] == pipe.lines()


def test_a_descriptor_that_does_not_block_gets_everything() -> None:
    """Others may share it, and have set it so: what finds no room waits for it."""
    pipe = Pipe()
    os.set_blocking(pipe.writing, False)
    sent = b"".join(b"%0100d\n" % number for number in range(5000))  # more than a pipe holds
    assert pipe.stream.put(sent)
    received = b""
    while len(received) < len(sent):
        assert select.select([pipe.reading], [], [], TIMEOUT)[0]
        received += os.read(pipe.reading, 4096)
    assert sent == received
    assert [] == pipe.lines()


def test_nothing_to_write_ends_nothing() -> None:
    """What follows it is written."""
    pipe = Pipe()
    assert pipe.stream.put(b"")
    assert pipe.stream.put(b"line\n")
    assert ["line"] == pipe.lines()


def test_a_torn_line_ends_before_the_next(tmp_path: Path) -> None:
    """Where a disk was full in the middle of a line, what follows is a line of its own."""
    path = tmp_path / "log"
    script = (
        "import os, resource, signal, sys\n"
        "from observability.log.messages import Stream\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5, resource.RLIM_INFINITY))\n"
        "stream = Stream(1, 30)\n"
        "stream.put(b'one\\ntwo\\n')\n"
        "while not stream.lost: pass\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "stream.put(b'three\\n')\n"
        "stream.close()\n"
        "print(stream.lost, stream.written, file=sys.stderr)\n"
    )
    with path.open("wb") as log:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=CHECKOUT, stdout=log, stderr=subprocess.PIPE, check=True)
    assert (b"1 2\n", b"one\nt\nthree\n") == (done.stderr, path.read_bytes())


def test_an_error_is_logged_when_it_begins_and_when_it_changes() -> None:
    """And again only once it had been over."""
    logged: list[tuple[str, str]] = []
    errors = Errors(lambda level, text: logged.append((level, text)))
    for error in ("a", "a", "b", "", "", "b"):
        errors.note("store", error)
    assert [("warning", "a"), ("warning", "b"), ("warning", "b")] == logged


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/a"), "/a: No such file or directory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("two\nlines"), "two lines"),
        (KeyError("a"), "'a'"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_is_described_for_a_person(error: Exception, expected: str) -> None:
    """In one line, without its number, and with the file where it has one."""
    assert expected == describe(error)
