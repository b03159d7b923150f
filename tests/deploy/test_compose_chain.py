"""The chain of deploy/compose.yaml: the services' own command lines, with paths and ports of a test's own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.compose import DEPLOY, services
from tests.support.keeper import Keeper
from tests.support.programs import need
from tests.support.scraper import counts
from tests.support.waiting import TIMEOUT, until


def test_a_login_as_the_head_of_the_file_tells_is_served_and_counted(installed: Path, tmp_path: Path) -> None:
    """Its curl line reads the welcome; the record is on stdout, where the engine looks for it."""
    need("tcpserver", "cvm-checkpassword", "cvm-pwfile", "pop3front-maildir", "curl")
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if "curl" in line]
    curl = line.strip("# ").partition("  ")[0]
    _lay_out(tmp_path)
    keeper = Keeper(tmp_path, [str(installed / "bin/qmail-popup-sidecar")])
    keeper.make_spool()
    with keeper, _popup(keeper, installed, tmp_path) as (port, log):
        program, *options = services()["sidecar"]["command"]
        assert "qmail-popup-sidecar" == program
        keeper.start(*(option for option in options if not option.startswith("--listen")))
        done = subprocess.run(
            [word.replace("1110", str(port)) for word in curl.split()], capture_output=True, check=True
        )
        assert (DEPLOY / "compose/welcome").read_bytes().splitlines() == done.stdout.splitlines()[:5]
        metrics = urlsplit(keeper.url).port or 0
        assert [True, True] == [_is_healthy("popup", 1110, port), _is_healthy("sidecar", 9110, metrics)]
        assert [False, False] == [_is_healthy("popup", 1110, 1), _is_healthy("sidecar", 9110, 1)]
        until(lambda: "Accept::AUTH::User P:POP3" in log.read_text())
        until(lambda: 1 == counts(keeper.numbers(), "auth_attempts_total").total())
        assert 40 == counts(keeper.numbers(), "sessions_limit").total()


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
def _popup(keeper: Keeper, installed: Path, scratch: Path) -> Iterator[tuple[int, Path]]:
    """Run the service popup; give its port, and the file that stands for the engine's end of its stdout."""
    service = services()["popup"]
    shell, option, script = service["command"]
    environ = {
        **service["environment"],
        **keeper.environment,
        "CVM_PWFILE_PATH": str(scratch / "accounts"),
        "PATH": f"{installed}/bin:{os.environ['PATH']}",
    }
    assert {*service["environment"], "PATH"} == environ.keys()
    log = scratch / "stdout"
    with log.open("wb") as stdout:
        # -1 prints the port, which the kernel picks.
        own = script.replace("tcpserver -v", "tcpserver -1").replace("0.0.0.0 1110", "127.0.0.1 0")
        server = subprocess.Popen(
            [shell, option, own], cwd=scratch, env=environ, stdin=subprocess.DEVNULL, stdout=stdout
        )
    try:
        until(lambda: "\n" in log.read_text() or server.poll() is not None)
        yield int(log.read_text()), log
    finally:
        server.terminate()
        server.wait(TIMEOUT)
