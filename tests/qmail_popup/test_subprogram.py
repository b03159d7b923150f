"""The subprogram: what it is given, how it is started and how it ends, with real programs."""

import fcntl
import os
import resource
import signal
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import pytest

from qmail_popup import subprogram
from qmail_popup.subprogram import Outcome, Subprogram, environment
from tests.support import descriptors
from tests.support.child import Child, run
from tests.support.programs import need_root

SECRET, HANDED = b"secret", b"bob\0secret\0<1.2@h>\0"
PATH = {b"PATH": b"/usr/bin:/bin"}
Story = tuple[int | None, int | None, str | None, int, int]
"""Exit status, signal, failure, and the two times, of a clock that counts its calls."""


def shell(script: str) -> list[bytes]:
    """Return a subprogram that runs `script`."""
    return [b"/bin/sh", b"-c", script.encode()]


def story(
    argv: list[bytes],
    environ: Mapping[bytes, bytes] = PATH,
    credentials: tuple[bytes, bytes] = (b"bob", SECRET),
    *,
    keep_stderr: bool = False,
    before: Callable[[], object] = lambda: None,
) -> Callable[[], Story]:
    """Return a task that runs `argv`."""

    def task() -> Story:
        before()
        clock = count(1)
        running = subprogram.start(argv, environ, keep_stderr=keep_stderr, clock=lambda: next(clock))
        running.hand_over(credentials[0], memoryview(credentials[1]), b"<1.2@h>")
        outcome = running.wait()
        return outcome.status, outcome.signal, outcome.failure, outcome.spawned, outcome.exited

    return task


@pytest.fixture
def network(tmp_path: Path) -> tuple[Path, Path, dict[int, int]]:
    """Return files for the network and the server's stderr, and a child's descriptors 0 to 2 on them."""
    out, errors = tmp_path / "out", tmp_path / "errors"
    out.touch()
    errors.touch()
    return (
        out,
        errors,
        {0: os.open(out, os.O_RDWR), 1: os.open(out, os.O_RDWR), 2: os.open(errors, os.O_RDWR)},
    )


def test_nothing_stays_open(network: tuple[Path, Path, dict[int, int]]) -> None:
    """Neither the environment's file nor the pipe is open behind it."""

    def task() -> tuple[list[str], list[str]]:
        before = os.listdir("/proc/self/fd")
        environment({b"LC_CTYPE": b"C.UTF-8"}, {})
        for argv in (shell("exit 1"), [b"/nonexistent"]):
            running = subprogram.start(argv, PATH, keep_stderr=False, clock=lambda: 0)
            running.hand_over(b"bob", memoryview(SECRET), b"<1.2@h>")
            running.wait()
        return before, os.listdir("/proc/self/fd")

    before, behind = run(task, network[2])
    assert before == behind


# Descriptor 3.


def test_a_pipe_with_too_little_room() -> None:
    """A login of a listener does not wait for a reader: what does not fit is lost."""
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1)  # the least there is: a page
    one = Subprogram(0, writer, Outcome(), lambda: 0, may_wait=False)
    one.hand_over(b"n" * size, memoryview(SECRET), b"<1.2@h>")
    assert b"n" * size == os.read(reader, 2 * size)
    os.close(reader)


@pytest.mark.parametrize(
    ("name", "secret", "handed"),
    [
        (b"bob", b"secret", HANDED),
        (b"b", b"\xff ", b"b\0\xff \0<1.2@h>\0"),
        (b"", b"", b"\0\0<1.2@h>\0"),
        (b"n" * 4091, b"s" * 4091, b"n" * 4091 + b"\0" + b"s" * 4091 + b"\0<1.2@h>\0"),
        (b"b", b"s" * 1_000_000, b"b\0" + b"s" * 1_000_000 + b"\0<1.2@h>\0"),  # more than a pipe holds
    ],
)
def test_descriptor_3_gets_it_all_and_then_the_end(
    name: bytes, secret: bytes, handed: bytes, network: tuple[Path, Path, dict[int, int]]
) -> None:
    """It says name, secret and timestamp, each with a NUL behind it, and nobody else has the pipe."""
    out, _errors, fds = network
    assert (0, None, None, 1, 2) == run(story(shell("cat <&3"), credentials=(name, secret)), fds)
    assert handed == out.read_bytes()


def test_descriptor_3_says_it_in_one_write() -> None:
    """A checker that reads once gets it all, though the popup has it in three places."""
    reader, writer = descriptors.packet_pipe()
    Subprogram(0, writer, Outcome(), lambda: 0).hand_over(b"bob", memoryview(SECRET), b"<1.2@h>")
    assert [HANDED] == descriptors.writes(reader)
    descriptors.close({reader})


@pytest.mark.parametrize("written", range(9))
def test_a_write_that_was_cut_short(written: int) -> None:
    """What is left of the parts is all that was not written."""
    parts: list[subprogram.Buffer] = [b"bob\0", memoryview(b"x"), b"\0z\0"]
    assert b"bob\0x\0z\0"[written:] == b"".join(subprogram._left(parts, written))  # noqa: SLF001


@pytest.mark.parametrize("size", [19, 1_000_000])
def test_descriptor_3_need_not_be_read(size: int, network: tuple[Path, Path, dict[int, int]]) -> None:
    """A subprogram that ends without reading is no error."""
    assert (0, None, None, 1, 2) == run(story([b"/bin/true"], credentials=(b"", b"x" * size)), network[2])


@pytest.mark.parametrize("closed", [(), (2,), (3,), (2, 3), (3, 5), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("keep", [False, True], ids=["", "keep"])
def test_whatever_was_closed(
    closed: tuple[int, ...],
    keep: bool,  # noqa: FBT001 - pytest's parameter
    network: tuple[Path, Path, dict[int, int]],
) -> None:
    """Descriptor 3 is the message and 2 the network, whatever numbers the pipe came up with."""
    out, errors, fds = network
    spare = os.open(os.devnull, os.O_RDWR)
    fds = {
        number: fd for number, fd in ({3: spare, 4: spare, 5: spare} | fds).items() if number not in closed
    }
    shown = "for fd in 0 1 2 3 4 5 6 7 8 9; do if [ -e /proc/$$/fd/$fd ]; then printf $fd; fi; done"
    argv = shell(f"cat <&3; echo to 2 >&2; {shown}")
    assert (0, None, None, 1, 2) == run(story(argv, keep_stderr=keep), fds)
    opened = sorted({*fds, 3} if keep else {*fds, 2, 3})
    wanted = HANDED + (b"" if keep else b"to 2\n") + b"".join(b"%d" % number for number in opened)
    assert wanted == out.read_bytes()
    assert (b"to 2\n" if keep and 2 in fds else b"") == errors.read_bytes()


# The start.


DEFAULTED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)


@pytest.mark.parametrize("ignored", [(), DEFAULTED], ids=["", "ignored"])
def test_signals(ignored: tuple[signal.Signals, ...], network: tuple[Path, Path, dict[int, int]]) -> None:
    """SIGPIPE, SIGXFSZ and SIGCHLD are at their defaults, whatever was inherited; others are as they were."""

    def before() -> None:
        for number in (*ignored, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # as main has it

    run(story(shell("grep ^SigIgn /proc/self/status"), before=before), network[2])
    mask = int(network[0].read_bytes().split()[1], 16)
    shown = {number for number in (signal.SIGHUP, *DEFAULTED) if mask >> number - 1 & 1}
    assert {signal.SIGHUP} == shown


def test_arguments_and_environment(network: tuple[Path, Path, dict[int, int]]) -> None:
    """They reach it byte by byte."""
    argv = [b"sh", b"-c", b'printf "%s|" "$0" "$@" "$V"', b"", b"a b", b"\xff"]
    assert (0, None, None, 1, 2) == run(story(argv, PATH | {b"V": b"\xfe="}), network[2])
    assert b"|a b|\xff|\xfe=|" == network[0].read_bytes()


def test_it_is_looked_up_in_path(tmp_path: Path, network: tuple[Path, Path, dict[int, int]]) -> None:
    """The popup's own PATH counts, and a file that cannot be executed does not end the search."""
    for name, mode in (("first", 0o644), ("second", 0o755)):
        (tmp_path / name).mkdir()
        program = tmp_path / name / "checker"
        program.write_text("#!/bin/sh\nexit 7\n")
        program.chmod(mode)

    def before() -> None:
        os.environ["PATH"] = f"/nonexistent:{tmp_path}/first:{tmp_path}/second:/bin"

    assert (7, None, None, 1, 2) == run(story([b"checker"], {}, before=before), network[2])


def test_without_path(network: tuple[Path, Path, dict[int, int]]) -> None:
    """Where PATH is unset it is /bin:/usr/bin."""
    assert (0, None, None, 1, 2) == run(
        story([b"true"], {}, before=lambda: os.environ.pop("PATH")), network[2]
    )


def no_magic(directory: Path) -> bytes:
    """Return a script that does not say what runs it."""
    script = directory / "script"
    script.write_text("exit 0\n")
    script.chmod(0o755)
    return os.fsencode(script)


@pytest.mark.parametrize(
    "what",
    [
        lambda _directory: b"/nonexistent/program",
        lambda _directory: b"no-such-program-anywhere",
        lambda _directory: b"/etc/passwd",
        lambda _directory: b"/etc/passwd/x",
        lambda _directory: b"/",
        lambda _directory: b"",
        no_magic,
    ],
    ids=[
        "no file",
        "not in PATH",
        "not executable",
        "no directory",
        "a directory",
        "no name",
        "no interpreter",
    ],
)
def test_what_cannot_be_run(
    what: Callable[[Path], bytes], tmp_path: Path, network: tuple[Path, Path, dict[int, int]]
) -> None:
    """It counts as 111, and is not handed to a shell."""
    assert (111, None, None, 1, 2) == run(story([what(tmp_path)]), network[2])


# The end.


@pytest.mark.parametrize("status", [0, 1, 2, 100, 111, 255])
def test_an_exit(status: int, network: tuple[Path, Path, dict[int, int]]) -> None:
    """Its exit status is told, and that there was no signal."""
    assert (status, None, None, 1, 2) == run(story(shell(f"exit {status}")), network[2])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGPIPE], ids=str)
def test_a_death(number: signal.Signals, network: tuple[Path, Path, dict[int, int]]) -> None:
    """The signal is told, and that there was no exit status."""
    assert (None, number, None, 1, 2) == run(story(shell(f"kill -{number} $$")), network[2])


def test_no_pipe(network: tuple[Path, Path, dict[int, int]]) -> None:
    """Without a descriptor to spare nothing is started."""

    def before() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))

    assert (None, None, "pipe", 0, 0) == run(story([b"/bin/true"], before=before), network[2])


def test_no_process(network: tuple[Path, Path, dict[int, int]]) -> None:
    """Where the system has no process to spare, that is its own failure."""
    need_root()  # to become somebody whose processes are counted

    def before() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        os.setresuid(54321, 54321, 54321)

    assert (None, None, "fork", 1, 2) == run(story([b"/bin/true"], before=before), network[2])


def test_it_is_waited_for(network: tuple[Path, Path, dict[int, int]]) -> None:
    """Only its end ends the wait, and none but its own."""
    reader, writer = os.pipe()
    with Child(story(shell("read line; exit 3")), network[2] | {0: reader}) as child:
        os.write(writer, b"now\n")
        assert (3, None, None, 1, 2) == child.result()
    descriptors.close({reader, writer})


def test_nothing_is_known_at_the_beginning() -> None:
    """An outcome begins empty."""
    outcome = Outcome()
    assert (None, None, None) == (outcome.status, outcome.signal, outcome.failure)
    assert (None, 0, 0) == (outcome.error, outcome.spawned, outcome.exited)
