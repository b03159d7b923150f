"""`--check-config` as it is typed: its status, its words, and that it leaves all as it was."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from observability.check.command import problems, user_name
from observability.check.problem import may
from observability.settings import parse
from tests.support import child, forkserver
from tests.support.descriptors import CHECKOUT
from tests.support.programs import need_root
from tests.support.setups import given, good, written
from tests.support.sidecar import RunningSidecar, command
from tests.support.waiting import TIMEOUT

_NOBODY_S = 64_027


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """Check a set-up."""
    return forkserver.run("--check-config", *options)


def files(directory: Path) -> dict[str, tuple[int, int]]:
    """Return all that there is, with modes and times of change."""
    found = {str(path): path.lstat() for path in sorted(directory.rglob("*"))}
    return {path: (status.st_mode, status.st_ctime_ns) for path, status in found.items()}


@pytest.fixture
def gateway() -> Iterator[str]:
    """Give the URL of something that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_where_all_is_well_it_says_so_and_changes_nothing(tmp_path: Path, gateway: str) -> None:
    """With status 0 and what it looked at."""
    options = [
        *good(tmp_path),
        *written("pw", "u:s3cret", f"--push={gateway}", "--push-credentials=DIR/pw")(tmp_path),
    ]
    before = files(tmp_path)
    found = run(*options)
    assert (0, "") == (found.returncode, found.stderr)
    assert found.stdout.startswith("qmail-popup-sidecar: no problems found as ")
    assert f"  push     {gateway}\n" in found.stdout
    assert "s3cret" not in found.stdout
    assert before == files(tmp_path)


def test_all_that_is_wrong_is_told_and_nothing_is_changed(tmp_path: Path) -> None:
    """A line each, with status 1."""
    options = good(tmp_path)
    (tmp_path / "spool").chmod(0o700)
    before = files(tmp_path)
    found = run(*options, f"--read-log={tmp_path}/none", "--json-log")
    assert (1, "") == (found.returncode, found.stderr)
    assert 2 == len(found.stdout.splitlines())
    assert all(line.startswith("qmail-popup-sidecar: --") for line in found.stdout.splitlines())
    assert before == files(tmp_path)


def test_a_bad_option_is_bad_usage() -> None:
    """With status 2, as without --check-config."""
    found = run("--push=http://u:s3cret@gateway")
    assert (2, "") == (found.returncode, found.stdout)
    assert "--push" in found.stderr
    assert "s3cret" not in found.stderr


def test_a_sidecar_that_runs_is_no_other_program(tmp_path: Path) -> None:
    """Its own options are as good as they were when it started; another's socket and port are not."""
    with RunningSidecar(tmp_path) as sidecar:
        listen = sidecar.url.removeprefix("http://").removesuffix("/metrics")
        options = [*command(tmp_path)[3:-1], f"--listen={listen}"]
        own = run(*options)
        other = run(*options, f"--state={tmp_path / 'other.sqlite'}")
    assert 0 == own.returncode, own.stdout
    assert "a sidecar is running with this store" in own.stdout
    assert 1 == other.returncode
    assert "another program is listening on it" in other.stdout
    assert f"--listen {listen}: Address already in use; choose another port" in other.stdout


def test_a_pusher_makes_no_directories(tmp_path: Path) -> None:
    """So both have to be there; a sidecar makes them."""
    options = [
        f"--spool={tmp_path}/spool",
        f"--state={tmp_path}/lib/state.sqlite",
        "--push=http://127.0.0.1:1",
    ]
    lines = run(*options, "--once").stdout.splitlines()
    assert ["--spool", "--state", "--push"] == [line.split()[1] for line in lines]
    assert all("a pusher does not create it" in line for line in lines[:2])
    served = [*options, "--listen=127.0.0.1:0", f"--socket={tmp_path}/run/sidecar.sock"]
    assert ["--push"] == [line.split()[1] for line in run(*served).stdout.splitlines()]


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("u:s3cret", 0o644, "everybody can read it, and it contains a secret; chmod o-rwx"),
        ("s3cret", 0o640, "the first line is not user:password; write user:password into its first line"),
    ],
)
def test_credentials_are_looked_at(tmp_path: Path, gateway: str, text: str, mode: int, expected: str) -> None:
    """And never told."""
    more = written("pw", text, f"--push={gateway}", "--push-credentials=DIR/pw", mode=mode)(tmp_path)
    (line,) = map(str, problems(parse([*good(tmp_path), *more], {}, "1"), {}, may))
    assert line.startswith(f"--push-credentials {tmp_path}/pw: {expected}")
    assert "s3cret" not in line


def test_a_port_that_is_in_use_is_told(tmp_path: Path, gateway: str) -> None:
    """Whoever has it."""
    listen = gateway.removeprefix("http://")
    options = [*good(tmp_path), *given(f"--listen={listen}")(tmp_path)]
    (line,) = map(str, problems(parse(options, {}, "1"), {}, may))
    assert line.startswith(f"--listen {listen}: Address already in use; choose another port")


def test_a_limit_of_open_files_is_looked_at(tmp_path: Path) -> None:
    """Where fewer may be open than sessions are allowed."""
    script = 'ulimit -n 256; exec "$@"'
    checked = [
        sys.executable,
        "-m",
        "observability",
        "--check-config",
        *good(tmp_path),
        "--sessions-limit=400",
    ]
    found = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *checked],
        cwd=CHECKOUT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert 1 == found.returncode
    assert "--sessions-limit 400: the limit of open files is 256; raise it to " in found.stdout


def test_a_user_without_a_name_is_told_by_its_number() -> None:
    """As in a container that is started with a number."""
    need_root()

    def name() -> str:
        os.setuid(_NOBODY_S)
        return user_name()

    assert f"user {_NOBODY_S}" == child.run(name)
