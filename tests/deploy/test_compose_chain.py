"""The chain of deploy/compose.yaml: the services' own command lines, with paths and ports of a test's own."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.support.compose import DEPLOY, services
from tests.support.keeper import Keeper
from tests.support.programs import need
from tests.support.scraper import counts
from tests.support.waiting import TIMEOUT, until


class Kind(NamedTuple):
    """A service that serves mail: its port, and what of its command line is another here."""

    port: int
    changes: Mapping[str, str]
    told: re.Pattern[str]
    """Where it says which port the kernel has picked."""


KINDS = {
    "popup": Kind(
        1110, {"tcpserver -v": "tcpserver -1", "0.0.0.0 1110": "127.0.0.1 0"}, re.compile(r"^(\d+)\n")
    ),
    "listener": Kind(2110, {"0.0.0.0:2110": "127.0.0.1:0"}, re.compile(r"pop3 on 127\.0\.0\.1:(\d+)\n")),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_login_as_the_file_tells_is_served_and_counted(name: str, installed: Path, tmp_path: Path) -> None:
    """Its curl line reads the welcome; the record is on stdout, where the engine looks for it."""
    need("tcpserver", "cvm-checkpassword", "cvm-pwfile", "pop3front-maildir", "curl")
    kind = KINDS[name]
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    (curl,) = re.findall(rf"curl \S+ \S+ pop3:\S+:{kind.port}/1", text)
    _lay_out(tmp_path)
    keeper = Keeper(tmp_path, [str(installed / "bin/qmail-popup-sidecar")])
    keeper.make_spool()
    with keeper, _server(name, keeper, installed, tmp_path) as (port, log):
        program, *options = services()["sidecar"]["command"]
        assert "qmail-popup-sidecar" == program
        keeper.start(*(option for option in options if not option.startswith("--listen")))
        done = subprocess.run(
            [word.replace(str(kind.port), str(port)) for word in curl.split()],
            capture_output=True,
            check=True,
        )
        assert (DEPLOY / "compose/welcome").read_bytes().splitlines() == done.stdout.splitlines()[:5]
        metrics = urlsplit(keeper.url).port or 0
        assert [True, True] == [_is_healthy(name, kind.port, port), _is_healthy("sidecar", 9110, metrics)]
        assert [False, False] == [_is_healthy(name, kind.port, 1), _is_healthy("sidecar", 9110, 1)]
        until(lambda: "Accept::AUTH::User P:POP3" in log.read_text())
        until(lambda: 1 == counts(keeper.numbers(), "auth_attempts_total").total())
        assert 180 == counts(keeper.numbers(), "sessions_limit").total()


def _is_healthy(name: str, number: int, port: int) -> bool:
    """Run a service's health check, on the port that it has here."""
    kind, *command = services()[name]["healthcheck"]["test"]
    assert "CMD" == kind
    here = [word.replace(str(number), str(port)) for word in command]
    return subprocess.run(here, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _lay_out(scratch: Path) -> None:
    """Make what the Dockerfile makes: the account, here of the user who runs this, with a welcome."""
    for name in ("cur", "new", "tmp"):
        (scratch / "home/Maildir" / name).mkdir(parents=True)
    welcome = (DEPLOY / "compose/welcome").read_text(encoding="utf-8")
    (scratch / "home/Maildir/new/1.demo").write_text(welcome)
    account = (DEPLOY / "compose/accounts").read_text(encoding="utf-8")
    account = account.replace("1000:1000", f"{os.getuid()}:{os.getgid()}")
    (scratch / "accounts").write_text(account.replace("/home/demo", f"{scratch}/home"))


@contextmanager
def _server(name: str, keeper: Keeper, installed: Path, scratch: Path) -> Iterator[tuple[int, Path]]:
    """Run a service that serves mail; give its port, and a file that is the engine's end of what it says."""
    service, kind = services()[name], KINDS[name]
    environ = {
        **service["environment"],
        **keeper.environment,
        "CVM_PWFILE_PATH": str(scratch / "accounts"),
        "PATH": f"{installed}/bin:{os.environ['PATH']}",
    }
    assert {*service["environment"], "PATH"} == environ.keys()
    log = scratch / "said"
    with log.open("wb") as said:
        server = subprocess.Popen(
            [_changed(word, kind.changes) for word in service["command"]],
            cwd=scratch,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        until(lambda: bool(kind.told.search(log.read_text())) or server.poll() is not None)
        found = kind.told.search(log.read_text())
        assert found, log.read_text()
        yield int(found[1]), log
    finally:
        server.terminate()
        server.wait(TIMEOUT)


def _changed(word: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        word = word.replace(old, new)
    return word
