"""deploy/OPERATIONS.md, done as it says: its own commands, on a sidecar that is at work.

What the page does by `svc` is done here by the one who keeps the sidecar, and its paths lie below a directory
of the test's own; all else is as it stands there.
"""

import fcntl
import os
import re
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from observability.event import build
from observability.store import schema
from qmail_popup.listener.addresses import read
from qmail_popup.listener.rules.rules import Rules
from tests.support.background import Repeated
from tests.support.descriptors import CHECKOUT
from tests.support.documents import commands
from tests.support.keeper import COMMAND, Keeper
from tests.support.popup import LOGIN, Popup
from tests.support.programs import environ_without_make, need
from tests.support.scraper import counts
from tests.support.server import HOST, serving, tcpserver
from tests.support.sidecar import deliver, fields, spooled
from tests.support.waiting import TIMEOUT, until

PAGE = CHECKOUT / "deploy/OPERATIONS.md"
NOBODY: Mapping[str, Callable[[], object]] = MappingProxyType({})


class Host:
    """A host's directories below one of the test's own, its sidecar, and an operator who follows the page."""

    def __init__(self, root: Path, command: Sequence[str] = COMMAND) -> None:
        self.root, self.keeper = root, Keeper(root, command)
        for name in ("var/lib/qmail-popup", "var/backups", "root"):
            (root / name).mkdir(parents=True)
        self.keeper.state = root / "var/lib/qmail-popup/state.sqlite"
        self.keeper.spool = root / "var/spool/qmail-popup"
        self.keeper.spool.parent.mkdir()
        self.keeper.make_spool()

    def follow(self, block: str, svc: Mapping[str, Callable[[], object]] = NOBODY) -> str:
        """Do what a block says, svc by what is given for its option; return what the commands said."""
        said = []
        for line in block.replace("\\\n", " ").splitlines():
            program, option, *_ = line.split()
            if program == "svc":
                svc[option]()
            else:
                said.append(line)
        script = re.sub(
            r"/(?:var|root|etc/service|usr/local)\b", lambda found: f"{self.root}{found[0]}", "\n".join(said)
        )
        return shell(script.replace("-o qmailpop -g qmailpop", f"-o {os.getuid()} -g {os.getgid()}"))

    def attempts(self) -> int:
        """Return what is counted once the spool is empty."""
        return counts(self.keeper.drained(), "auth_attempts_total").total()


def shell(script: str) -> str:
    """Run what was typed; return what it says, which may be no error."""
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=CHECKOUT,
        env=environ_without_make(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr), script
    return done.stdout


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Give a host without anything in it."""
    found = Host(tmp_path)
    with found.keeper:
        yield found


@contextmanager
def again_and_again(task: Callable[[], bytes], pause: float = 0) -> Iterator[list[bytes]]:
    """Do a task for as long as the context lasts, at first ten times; gives what it returned."""
    results: list[bytes] = []
    with Repeated(lambda: results.append(task()), pause=pause):
        until(lambda: len(results) >= 10)
        yield results


def test_a_backup_is_one_moment_of_a_state_in_use(host: Host) -> None:
    """What is acknowledged before is in it, what comes later is not, and it is whole and nobody else's."""
    host.keeper.start()
    with again_and_again(lambda: deliver(host.keeper.socket, build(fields()))) as acknowledged:
        before = len(acknowledged)
        host.follow(commands(PAGE, "Backup")[0])
        after = len(acknowledged) + 1  # one may be counted and not yet acknowledged
    (copy,) = (host.root / "var/backups").iterdir()
    with closing(sqlite3.connect(copy)) as database:
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()
        held = schema.values(database)
    assert 0o100600 == copy.stat().st_mode
    assert before <= held["auth_attempts", "accepted", "User", "POP3"] <= after


def test_a_backup_is_restored(host: Host) -> None:
    """Over a state that was killed: totals are those of the backup, and each session counts once still."""
    old, later = build(fields()), build(fields())
    host.keeper.start()
    deliver(host.keeper.socket, old)
    backup, restore = commands(PAGE, "Backup")
    host.follow(backup)
    deliver(host.keeper.socket, later)
    host.keeper.kill()
    assert host.keeper.state.with_name("state.sqlite-wal").stat().st_size

    (copy,) = (host.root / "var/backups").iterdir()
    copy.rename(copy.with_name("qmail-popup-2026-11-23.sqlite"))
    host.follow(restore)
    host.keeper.start()
    assert 1 == host.attempts()
    deliver(host.keeper.socket, old)
    assert 1 == host.attempts()
    deliver(host.keeper.socket, later)
    assert 2 == host.attempts()


@pytest.mark.usefixtures("offline")
def test_an_upgrade_loses_no_event(installed: Path, tmp_path: Path) -> None:
    """Logins go on all the while, and each is served; what waits in the spool meanwhile counts once."""
    host = Host(tmp_path, [str(tmp_path / "usr/local/bin/qmail-popup-sidecar")])
    prefix = tmp_path / "usr/local"
    shutil.copytree(installed, prefix, symlinks=True)
    old = (prefix / "bin/qmail-popup").stat().st_ino
    (block,) = commands(PAGE, "Upgrade")
    argv = tcpserver(str(prefix / "bin/qmail-popup"), HOST, "/bin/false")
    with host.keeper, serving(argv, host.keeper.environment) as server:
        host.keeper.start()
        with again_and_again(lambda: _refused_login(server.port), pause=0.2) as told:
            host.follow(block, {"-d": lambda: _stop(host, told), "-u": host.keeper.start})
            _wait_for_more(told)
        assert old != (prefix / "bin/qmail-popup").stat().st_ino
        assert {b"+OK\r\n+OK \r\n-ERR authorization failed\r\n"} == set(told)
        assert len(told) == len(server.settled_records()) == host.attempts()
        sources = counts(host.keeper.numbers(), "telemetry_events_total", "source")
    assert {("socket",), ("spool",)} == set(sources)


def _stop(host: Host, logins: list[bytes]) -> None:
    """Stop the sidecar for so long that some events go to the spool."""
    host.keeper.stop()
    _wait_for_more(logins)


def _wait_for_more(logins: list[bytes]) -> None:
    before = len(logins)
    until(lambda: len(logins) > before + 1)


def _refused_login(port: int) -> bytes:
    with socket.create_connection((HOST, port), TIMEOUT) as client:
        client.sendall(LOGIN)
        return client.makefile("rb").read()


def test_a_host_is_moved(host: Host, tmp_path: Path) -> None:
    """Totals, the key and what waits are on the new one; what was counted on the old one counts no more."""
    counted, waits = build(fields()), build(fields())
    host.keeper.start("--json-log")
    deliver(host.keeper.socket, counted)
    assert 0 == host.keeper.stop()
    (host.keeper.spool / "spool").write_bytes(spooled(waits))

    other = tmp_path / "new"
    new = _begun(other)
    find, block = commands(PAGE, "Move a host")
    new.follow(find)
    sent, received = block.replace(" ssh new.example.org ", " ").split("|")
    shell(f"{sent.replace('-C /', f'-C {tmp_path}')} | {received.replace('-C /', f'-C {other}')}")
    with new.keeper:
        new.keeper.start("--json-log")
        assert 2 == new.attempts()
        deliver(new.keeper.socket, counted)
        assert 2 == new.attempts()
    key = "state.sqlite.key"
    assert host.keeper.state.with_name(key).read_bytes() == new.keeper.state.with_name(key).read_bytes()


def _begun(root: Path) -> Host:
    """Make a host whose sidecar has counted something, and has left its state in three files."""
    root.mkdir()
    host = Host(root)
    with host.keeper:
        host.keeper.start("--json-log")
        deliver(host.keeper.socket, build(fields()))
        host.keeper.kill()
    return host


def test_what_waits_can_be_counted_and_given_up(host: Host) -> None:
    """As many as there are, and who keeps them there; once moved away they count no more, and others do."""
    need("lslocks")
    block, mv = commands(PAGE, "When the spool grows")
    with (host.keeper.spool / "spool").open("wb") as file:
        file.write(spooled(*(build(fields()) for _ in range(3))))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting, *holders = host.follow(block).splitlines()
    assert "3" == waiting
    assert [str(os.getpid())] == [line.split()[1] for line in holders]

    host.follow(mv)
    (host.keeper.spool / "spool").write_bytes(spooled(build(fields())))
    host.keeper.start()
    assert 1 == host.attempts()


def test_who_may_connect(tmp_path: Path) -> None:
    """The block makes a file of rules, by which one client is denied."""
    need("tcprules", "tcprulescheck")
    (tmp_path / "etc/qmail-popup").mkdir(parents=True)
    (block,) = commands(PAGE, "Who may connect")
    said = subprocess.run(
        ["/bin/sh", "-ec", block.replace("/etc/", f"{tmp_path}/etc/")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ["rule 203.0.113.66:", "deny connection"] == said.stdout.splitlines()
    rules = Rules((tmp_path / "etc/qmail-popup/pop3.cdb").read_bytes())
    assert [True, False, False] == [
        rules.of(read((ip, 0)).ip).is_denied for ip in ("203.0.113.66", "192.0.2.1", "::1")
    ]


def test_all_can_be_turned_off_by_the_servers_variables(host: Host) -> None:
    """What is left of the environment makes a popup that leaves nothing anywhere."""
    (envdir,) = need("envdir")
    env = host.root / "etc/service/pop3/env"
    shutil.copytree(CHECKOUT / "deploy/daemontools/pop3/env", env)
    (env / "QMAIL_POPUP_SIDECAR").write_text(f"{host.keeper.socket}\n")
    (env / "QMAIL_POPUP_SPOOL").write_text(f"{host.keeper.spool}\n")
    assert 1 == _events_left(host, [envdir, str(env)])

    done: list[str] = []
    svc = {"-t": lambda: done.append("-t"), "-d": lambda: done.append("-d")}
    (host.root / "etc/service/sidecar").mkdir()
    host.follow(commands(PAGE, "Turn everything off")[0], svc)
    assert ["-t", "-d"] == done
    assert (host.root / "etc/service/sidecar/down").exists()
    assert 0 == _events_left(host, [envdir, str(env)])


def test_all_can_be_turned_off_without_the_servers(host: Host) -> None:
    """A popup that is told of a sidecar and a spool finds neither, serves its client, and leaves nothing."""
    host.follow(commands(PAGE, "Turn everything off")[2], {"-d": host.keeper.kill})
    told = {"PATH": os.environ["PATH"], **host.keeper.environment}
    assert 0 == _events_left(host, [], told)
    assert [host.keeper.spool.with_name("qmail-popup.off")] == list(host.keeper.spool.parent.rglob("*"))


def _events_left(host: Host, start: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Have one session; return how many events it left in the spool, which is empty again after that."""
    with Popup([*start, *COMMAND[:2], "qmail_popup"], env=env) as popup:
        popup.talk(LOGIN)
        assert (0, 1) == (popup.status(), len(popup.records()))
    left = [path.read_bytes().count(b"\0END=1\0") for path in host.keeper.waiting()]
    for path in host.keeper.waiting():
        path.unlink()
    return sum(left)
