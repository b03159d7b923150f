"""No process that a test starts outlives the run of the tests, whatever ends that."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.descriptors import CHECKOUT
from tests.support.processes import children, is_gone
from tests.support.waiting import until

# Starts a daemon, as a fleet's programs are started: in a session and an environment of its own.
_TEST = """
import subprocess
def test_that_goes_on():
    script = "setsid sleep 600 & echo $! >{started}.new; mv {started}.new {started}; {then}"
    subprocess.run(["/bin/sh", "-c", script], env={{"PATH": "/usr/bin:/bin"}}, check=True)
"""


def _run(directory: Path, then: str, *, ignore: tuple[signal.Signals, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a run of one test, in a worker; its daemon's pid comes to be in directory/started."""
    (directory / "pytest.ini").write_text("[pytest]\n")
    test = directory / "test_it.py"
    test.write_text(_TEST.format(started=directory / "started", then=then))
    plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-n", "1", f"--basetemp={directory}/temp"]

    def ignoring() -> None:
        for number in ignore:
            signal.signal(number, signal.SIG_IGN)

    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *plugins, f"--rootdir={directory}", test],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=ignoring,  # noqa: PLW1509 - nothing else starts a program that ignores signals
    )


# Signals 32 and 33, which it keeps to itself: no program can set them.
_OF_THE_C_LIBRARY = 0b11 << 31


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_takes_all_along(tmp_path: Path, number: signal.Signals) -> None:
    """The daemon that a test has started, and the test itself, which does not end."""
    with _run(tmp_path, "sleep 600") as run:
        until((tmp_path / "started").exists)
        daemon = int((tmp_path / "started").read_text())
        assert not is_gone(daemon)
        run.send_signal(number)
        assert run.wait() in (-number, 128 + number)
        until(lambda: is_gone(daemon))


def test_a_run_that_ends_takes_all_along(tmp_path: Path) -> None:
    """What is still there has ended when the run has; its status is that of the tests."""
    with _run(tmp_path, "true") as run:
        assert 0 == run.wait()
    assert is_gone(int((tmp_path / "started").read_text()))


def test_nothing_that_a_test_starts_ignores_a_signal(tmp_path: Path) -> None:
    """Also where the run was started by nohup, or in the background of a shell."""
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD)
    show = f"exec sed -n s/^SigIgn:.//p /proc/self/status >{tmp_path}/ignored"
    with _run(tmp_path, show, ignore=ignored) as run:
        assert 0 == run.wait()
    assert 0 == int((tmp_path / "ignored").read_text(), 16) & ~_OF_THE_C_LIBRARY


def test_this_run_adopts_what_loses_its_parent() -> None:
    """So it is known here what has been left by others."""
    script = "sleep 600 >/dev/null & echo $!"
    orphan = int(subprocess.run(["/bin/sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    until(lambda: orphan not in children(os.getpid()) and orphan not in children(1))
    os.kill(orphan, signal.SIGKILL)
    until(lambda: is_gone(orphan))
