"""The popup as a program: arguments, exit status, signals, and what becomes of a fault of our own."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qmail_popup import VERSION, __main__
from tests.support import descriptors
from tests.support.child import run
from tests.support.descriptors import CHECKOUT
from tests.support.popup import ACCEPTS, HOST, LOGIN, REFUSES, Popup, shell
from tests.support.waiting import TIMEOUT

POPUP = [sys.executable, "-S", "-m", "qmail_popup"]
USAGE = b"-ERR usage: popup hostname subprogram\r\n"


def output(*arguments: str | bytes) -> tuple[int, bytes, bytes]:
    """Run the popup with `arguments`; its status and what it wrote to descriptors 1 and 2."""
    done = subprocess.run(
        [*POPUP, *arguments], cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [(), ("host",), ("--helpless",), ("-h",), ("",)])
def test_too_few_arguments(arguments: tuple[str, ...]) -> None:
    """They are answered on the network, in POP3's own way."""
    assert (1, USAGE, b"") == output(*arguments)


def test_a_person_asks_for_the_version() -> None:
    """Alone, --version is not a hostname."""
    assert (0, f"qmail-popup {VERSION}\n".encode(), b"") == output("--version")


def test_a_person_asks_for_help() -> None:
    """Alone, --help says how to start it and what the variables are."""
    status, shown, errors = output("--help")
    assert (0, b"") == (status, errors)
    assert shown.startswith(b"usage: qmail-popup hostname subprogram [argument...]\n")
    assert b"QMAIL_POPUP_TIMEOUT" in shown


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_with_a_subprogram_they_are_hostnames(word: str) -> None:
    """Two arguments are a hostname and a subprogram, whatever they look like."""
    assert (1, b"+OK\r\n", b"") == output(word, "/bin/true")


@pytest.mark.parametrize("argument", [[], ["--help"], ["--version"]], ids=str)
def test_nobody_listens(argument: list[str]) -> None:
    """What cannot be written is no fault."""
    child = descriptors.start([*POPUP, *argument], {}, env={})
    assert (0 if argument else 1) == descriptors.wait(child)


@pytest.mark.parametrize(
    ("said", "subprogram", "status"),
    [
        (b"QUIT\r\n", ACCEPTS, 0),
        (LOGIN, ACCEPTS, 0),
        (LOGIN, REFUSES, 1),
        (LOGIN, shell("kill -9 $$"), 1),
        (b"NOOP\r\n", ACCEPTS, 1),
    ],
)
def test_exit_status(said: bytes, subprogram: tuple[str, ...], status: int) -> None:
    """An orderly end is 0, everything else 1, and descriptor 2 stays empty."""
    with Popup(POPUP, subprogram) as popup:
        popup.talk(said)
        assert (status, b"") == (popup.status(), popup.errors())


def test_the_timestamp_names_process_time_and_host() -> None:
    """It is made of this very process and of now, once for the whole session."""
    began = int(time.time())
    with Popup(POPUP, shell("cat <&3"), env={"POP3AUTH": "apop", "PATH": "/bin"}) as popup:
        greeting, _, handed = popup.talk(b"APOP b d\r\n").partition(b"\r\n")
        pid = popup.process.pid
    stamp = greeting.removeprefix(b"+OK ")
    assert b"b\0d\0%s\0" % stamp == handed
    number, when = stamp.removeprefix(b"<").removesuffix(b"@%s>" % HOST.encode()).split(b".")
    assert pid == int(number)
    assert began <= int(when) <= time.time()


def test_arguments_are_bytes() -> None:
    """Arguments that are no UTF-8 reach the greeting and the subprogram as they are."""
    environ = {**os.environ, "POP3AUTH": "apop"}
    popup = subprocess.Popen(
        [*POPUP, b"h\xff\xc3", "/bin/sh", "-c", b'printf %s "$1" | od -An -tx1', "sh", b"\xfe\xff\n"],
        cwd=CHECKOUT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    said, _ = popup.communicate(b"APOP b d\r\n", timeout=TIMEOUT)
    greeting, rest = said.split(b"\r\n", 1)
    assert greeting.endswith(b"@h\xff\xc3>")
    assert b"fe ff 0a" == rest.strip()


def restore(number: signal.Signals) -> None:
    """Let a signal have its default effect; whoever runs the tests may have ignored it."""
    signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_signals_end_it(number: signal.Signals) -> None:
    """It dies of a signal as any program does, and says nothing."""
    with Popup(POPUP, prepare=lambda: restore(number)) as popup:
        assert b"+OK\r\n" == popup.line.receive_line()
        popup.process.send_signal(number)
        assert (-number, b"", b"") == (popup.status(), popup.line.receive_all(), popup.errors())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_signals_that_were_ignored_stay_so(number: signal.Signals) -> None:
    """What the caller ignored does not end it."""
    with Popup(POPUP, ignore=[number]) as popup:
        assert b"+OK\r\n" == popup.line.receive_line()
        popup.process.send_signal(number)
        assert (b"+OK \r\n", 0) == (popup.talk(b"QUIT\r\n"), popup.status())


def test_an_ignored_sigchld_hides_no_status() -> None:
    """A subprogram's refusal is seen though the caller ignored SIGCHLD."""
    with Popup(POPUP, REFUSES, ignore=[signal.SIGCHLD]) as popup:
        assert popup.talk(LOGIN).endswith(b"-ERR authorization failed\r\n")
        assert [popup.record("Reject")] == popup.records()


@pytest.mark.parametrize(
    ("handler", "kept"),
    [
        (signal.default_int_handler, signal.SIG_DFL),
        (signal.SIG_IGN, signal.SIG_IGN),
        (signal.SIG_DFL, signal.SIG_DFL),
    ],
)
def test_only_the_interpreter_s_own_handler_is_undone(
    handler: signal.Handlers, kept: signal.Handlers
) -> None:
    """SIGINT is as it was before the interpreter had its way, and SIGCHLD at its default."""

    def task() -> tuple[object, object]:
        signal.signal(signal.SIGINT, handler)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        sys.argv = ["qmail-popup"]
        __main__.main()
        return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD)

    assert (kept, signal.SIG_DFL) == run(task)


def test_descriptor_5_is_the_log_only_if_it_was_open() -> None:
    """Closed at the start, it is none: what is opened there later is not taken for it."""
    with Popup(POPUP, fds={5: None, 4: None, 3: None}) as popup:
        popup.talk(LOGIN)
        assert (0, []) == (popup.status(), popup.records())


def test_nothing_that_comes_up_as_descriptor_5_is_the_log() -> None:
    """Closed at the start, its number may become the control socket's; no record goes there."""
    (control, far_control), (clear, far_clear) = socket.socketpair(), socket.socketpair()
    env = {"PATH": "/bin", "UCSPITLS": "", "SSLCTLFD": "10", "SSLREADFD": "11", "SSLWRITEFD": "12"}
    fds = {5: None, 10: far_control.fileno()} | dict.fromkeys((3, 4, 11, 12), far_clear.fileno())
    with control, clear, Popup(POPUP, env=env, fds=fds) as popup:
        far_control.close()
        far_clear.close()
        popup.talk(b"STLS\r\n")
        control.sendall(b"\0")
        clear.sendall(LOGIN)
        assert (0, b"Y", b"") == (popup.status(), control.recv(99), control.recv(99))


@pytest.mark.parametrize("place", ["SSLCTLFD", "SSLREADFD", "SSLWRITEFD"])
def test_descriptor_5_is_no_log_where_tls_has_it(place: str) -> None:
    """A descriptor that UCSPI-TLS names is not written to, though TLS is not offered."""
    with Popup(POPUP, env={"PATH": "/bin", place: "5"}) as popup:
        popup.talk(LOGIN)
        assert (0, []) == (popup.status(), popup.records())


def interrupted() -> None:
    """Fault: a signal that the session did not expect."""

    def fault(*_: object) -> None:
        raise KeyboardInterrupt("with a secret in it")

    signal.signal(signal.SIGALRM, fault)
    signal.setitimer(signal.ITIMER_REAL, 0.2)


@pytest.mark.parametrize(
    ("stderr_open", "line"), [(True, b"qmail-popup: fault: KeyboardInterrupt\n"), (False, b"")]
)
def test_a_fault_of_our_own(stderr_open: bool, line: bytes) -> None:  # noqa: FBT001 - pytest's parameter
    """Whatever it is: status 1 and one line that names its kind, not what it says, and no traceback."""
    (out, out_writer), (errors, errors_writer), (silent, silent_writer) = os.pipe(), os.pipe(), os.pipe()

    def task() -> int:
        sys.argv = ["qmail-popup", "host", "/bin/true"]
        interrupted()
        return __main__.main()

    fds = {0: silent, 1: out_writer} | ({2: errors_writer} if stderr_open else {})
    assert 1 == run(task, fds)
    descriptors.close({out_writer, errors_writer, silent_writer, silent})
    assert b"+OK\r\n" == descriptors.Line(out, -1).receive_all()
    assert line == descriptors.Line(errors, -1).receive_all()
    descriptors.close({out, errors})


def test_times_never_run_backwards() -> None:
    """The clock is the time of day at the start, and steady from there."""
    before = time.time_ns()
    clock = __main__._clock()  # noqa: SLF001 - the clock's one maker
    readings = [clock() for _ in range(1000)]
    assert sorted(readings) == readings
    assert before <= readings[0]
    assert readings[-1] <= time.time_ns() + 1_000_000_000  # the two clocks differ by their rates only
    assert readings[0] < readings[-1]


@pytest.mark.parametrize(
    "limit",
    [
        lambda: resource.setrlimit(resource.RLIMIT_AS, (64_000_000, 64_000_000)),
        lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    ],
    ids=["softlimit -m 64000000", "no cores"],
)
def test_limits_of_a_run_script(limit: Callable[[], None]) -> None:
    """It serves under the limits that an operator sets."""
    with Popup(["/usr/bin/python3", "-IS", "-c", _FROM_CHECKOUT], prepare=limit) as popup:
        assert b"+OK\r\n+OK \r\n" == popup.talk(LOGIN)
        assert (0, b"") == (popup.status(), popup.errors())


_FROM_CHECKOUT = f"""
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
from qmail_popup.__main__ import main
sys.exit(main())
"""


def test_it_runs_from_a_bare_checkout(tmp_path: Path) -> None:
    """Nothing is installed, nothing is written: not even byte code is needed."""
    target = tmp_path / "qmail_popup"
    shutil.copytree(CHECKOUT / "qmail_popup", target, ignore=shutil.ignore_patterns("__pycache__"))
    with Popup(["/usr/bin/python3", "-B", "-m", "qmail_popup"], cwd=tmp_path) as popup:
        assert (b"+OK\r\n+OK \r\n", 0) == (popup.talk(LOGIN), popup.status())
    assert not (target / "__pycache__").exists()
