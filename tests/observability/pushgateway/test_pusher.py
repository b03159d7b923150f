"""The pusher: popups on a host without a sidecar, real gateways, and what can go wrong in between."""

import fcntl
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import pytest

from observability.event import build
from tests.support import forkserver
from tests.support.descriptors import CHECKOUT
from tests.support.gateway import Pushgateway
from tests.support.keeper import COMMAND, Keeper
from tests.support.processes import opened
from tests.support.programs import need, need_root
from tests.support.scraper import counts
from tests.support.sidecar import fields, spooled
from tests.support.unattended import INSTANCE, Unattended, attempts, total
from tests.support.waiting import TIMEOUT, eventually, until

OTHER_USER = 64_024


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Pushgateway]:
    """Give a gateway that serves."""
    directory = tmp_path / "gateway"
    directory.mkdir()
    with Pushgateway(directory) as gateway:
        yield gateway


@contextmanager
def _unattended(
    tmp_path: Path, prefix: Path, gateway: Pushgateway, *, interval: float = 0.5
) -> Iterator[Unattended]:
    directory = tmp_path / "host"
    directory.mkdir()
    with Unattended(directory, prefix, gateway.url, interval=interval) as host:
        yield host


def _once(directory: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a pusher by hand, on the paths that a Keeper has in `directory`."""
    paths = (f"--spool={directory / 'spool'}", f"--state={directory / 'state.sqlite'}")
    return forkserver.run("--once", f"--push={url}", *paths, *options)


def _spool(directory: Path, count: int = 1) -> None:
    """Leave events in the spool as popups do."""
    spool = directory / "spool"
    spool.mkdir(exist_ok=True)
    with (spool / "spool").open("ab") as file:
        file.write(spooled(*(build(fields()) for _ in range(count))))


def test_it_pushes_what_is_in_the_spool_and_ends(tmp_path: Path, gateway: Pushgateway) -> None:
    """Started by hand it counts, pushes, stays for one interval and ends; the next goes on from there."""
    for round_number in (1, 2):
        _spool(tmp_path, 3)
        done = _once(tmp_path, gateway.url, f"--instance={INSTANCE}", "--push-interval=0.3")
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
        assert 3 * round_number == attempts(gateway)
    numbers = gateway.numbers()
    assert {(INSTANCE, "ok")} == set(counts(numbers, "telemetry_pushes_total", "instance", "result"))
    assert "qmail_popup_sessions_active" not in gateway.families(INSTANCE)


def test_it_gives_up_root_and_lives_in_little_memory(
    tmp_path_factory: pytest.TempPathFactory, installed: Path
) -> None:
    """Started by a root popup under softlimit it is the spool's owner, and makes way for their sidecar."""
    need_root()
    (softlimit,) = need("softlimit")
    shared = tmp_path_factory.mktemp("shared")
    for parent in {shared, *shared.parents, installed, *installed.parents}:
        if parent.stat().st_mode & 0o001 == 0:  # pytest keeps its directories to itself
            parent.chmod(parent.stat().st_mode | 0o711)
    with Pushgateway(shared) as gateway, Unattended(shared, installed, gateway.url, interval=60) as host:
        for path in (shared, host.spool):
            os.chown(path, OTHER_USER, OTHER_USER)

        def is_pushed() -> bool:
            host.sessions(1, softlimit, "-m", "64000000")  # of which a busy machine may cut one short
            return attempts(gateway) > 0

        until(is_pushed)
        assert (OTHER_USER, 0o600) == (host.state.stat().st_uid, host.state.stat().st_mode & 0o777)
        (pid,) = host.pushers()
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert [str(OTHER_USER)] * 4 == status["Uid"].split() == status["Gid"].split()
        assert "" == status["Groups"].strip()
        program = installed / "bin/qmail-popup-sidecar"
        with Keeper(shared, [str(program)], cwd=Path("/"), user=OTHER_USER) as keeper:
            keeper.start()  # which may not look into the pusher, since that was root once
            assert attempts(gateway) <= total(keeper.numbers(), "auth_attempts_total")


def test_a_sidecar_takes_over(tmp_path: Path, installed: Path, gateway: Pushgateway) -> None:
    """It asks the pusher to go, has the store within 5 s, counts on, and keeps pushers away."""
    with _unattended(tmp_path, installed, gateway, interval=60) as host, Keeper(host.spool.parent) as keeper:
        host.sessions(3)
        until(lambda: attempts(gateway) > 0)  # those that came later wait for its next push
        keeper.start(f"--push={gateway.url}", f"--instance={INSTANCE}", "--push-interval=0.3")
        assert [] == host.pushers()
        assert 3 == total(keeper.drained(), "auth_attempts_total")
        starts = host.starts()
        until(lambda: not _is_free(host.spool / "pusher.lock"))
        host.sessions(2)
        until(lambda: attempts(gateway) == 5)
        assert starts == host.starts()


def _is_free(lock: Path, take: Callable[[BinaryIO, int], None] = fcntl.flock) -> bool:
    """Whether nobody holds a lock on the file."""
    with lock.open("rb+") as file:
        try:
            take(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_beside_a_sidecar_it_ends(tmp_path: Path, gateway: Pushgateway) -> None:
    """Who has the store keeps it: one clear line, status 1."""
    with Keeper(tmp_path) as keeper:
        keeper.start()
        done = _once(tmp_path, gateway.url)
        assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        done = _once(tmp_path, gateway.url, f"--spool={elsewhere}")
        assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
        assert "in use by another sidecar" in done.stderr


def test_it_needs_a_spool(tmp_path: Path, gateway: Pushgateway) -> None:
    """Without one there is nothing to do: one clear line, status 1."""
    done = _once(tmp_path, gateway.url)
    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "spool" in done.stderr


def test_it_gives_up_on_a_gateway_that_takes_nothing(tmp_path: Path, gateway: Pushgateway) -> None:
    """After 20 failures it ends; the store has all, and the next one pushes it."""
    gateway.kill()
    _spool(tmp_path, 4)
    done = _once(tmp_path, gateway.url, "--push-interval=0.02")
    assert 0 == done.returncode
    assert 20 == len(done.stderr.splitlines())
    gateway.start()
    assert 0 == _once(tmp_path, gateway.url, "--push-interval=0.02").returncode
    assert 4 == attempts(gateway)
    assert 20 == counts(gateway.numbers(), "telemetry_pushes_total", "result")["failed",]


@pytest.mark.parametrize("takes", [True, False], ids=["a gateway that takes it", "none"])
def test_what_cannot_be_drained_keeps_no_pusher(tmp_path: Path, gateway: Pushgateway, *, takes: bool) -> None:
    """It is said once, the rest is counted and pushed, and the pusher ends; the next one tries again."""
    _spool(tmp_path, 4)
    if not takes:
        gateway.kill()
    with (tmp_path / "spool/taken.held").open("wb") as held:
        held.write(spooled(build(fields())))
        held.flush()
        fcntl.flock(held, fcntl.LOCK_SH)
        done = _once(tmp_path, gateway.url, "--push-interval=0.05")
    assert 0 == done.returncode
    assert 1 == done.stderr.count("another process is writing to it")
    if not takes:
        gateway.start()
    assert 0 == _once(tmp_path, gateway.url, "--push-interval=0.05").returncode
    assert 5 == attempts(gateway)


def test_a_stopped_gateway_holds_one_push_and_one_pusher(
    tmp_path: Path, installed: Path, gateway: Pushgateway
) -> None:
    """While it is stopped events are counted, nothing piles up, and all is pushed once it continues."""
    with _unattended(tmp_path, installed, gateway, interval=0.2) as host:
        gateway.hold()
        for _ in range(5):
            host.sessions(5)
            until(lambda: not (host.spool / "spool").exists())
        assert 1 == len(host.starts())
        time.sleep(1)  # five intervals
        (pid,) = host.pushers()
        assert 1 == sum(link.startswith("socket:") for link in opened(pid).values())
        gateway.go_on()
        until(lambda: attempts(gateway) == 25)
        host.settle()


def test_a_store_that_is_locked_delays_and_loses_nothing(tmp_path: Path, gateway: Pushgateway) -> None:
    """Where somebody holds the store while events come in, they wait in the spool."""
    _spool(tmp_path)
    paths = (f"--spool={tmp_path / 'spool'}", f"--state={tmp_path / 'state.sqlite'}")
    said = tmp_path / "errors"
    with (
        said.open("wb") as errors,
        subprocess.Popen(
            [*COMMAND, "--once", f"--push={gateway.url}", *paths, "--push-interval=3"],
            cwd=CHECKOUT,
            stderr=errors,
        ) as pusher,
    ):
        until(lambda: attempts(gateway) == 1)
        other = sqlite3.connect(tmp_path / "state.sqlite", timeout=TIMEOUT, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        _spool(tmp_path, 2)
        until(lambda: b"locked" in said.read_bytes())
        assert 1 == attempts(gateway)
        assert pusher.poll() is None
        other.execute("ROLLBACK")
        other.close()
        assert 0 == pusher.wait(TIMEOUT)
    assert 1 == said.read_bytes().count(b"locked")
    assert 3 == attempts(gateway)


@pytest.mark.parametrize(
    ("parts", "pushed"), [((), 2), (("last-look",), 1)], ids=["as it is", "without the last look"]
)
def test_an_event_that_comes_when_it_is_about_to_end(
    tmp_path: Path, installed: Path, gateway: Pushgateway, parts: tuple[str, ...], pushed: int
) -> None:
    """Between its last drain and the end of its turn an event slips in: only a last look finds it."""
    with _unattended(tmp_path, installed, gateway, interval=0.1) as host:
        host.run_without("hurry-to-end", *parts)
        host.sessions(1)
        until(lambda: attempts(gateway) == 1)
        until(
            lambda: _is_free(Path(f"{host.state}.lock"), fcntl.lockf)
        )  # it has left the store, and still has its turn
        assert not _is_free(host.spool / "pusher.lock")
        host.sessions(1)
        (host.spool / "let-go").touch()
        host.settle()
        assert pushed == attempts(gateway)
        assert (pushed == 1) == (host.spool / "spool").exists()


def test_the_last_event_of_a_burst_is_pushed(tmp_path: Path, installed: Path, gateway: Pushgateway) -> None:
    """Sessions come at all moments of a pusher's end, many times, and none has to wait for another."""
    (strace,) = need("strace")
    trace = tmp_path / "trace"
    delay = "inject=flock:delay_enter=100000:delay_exit=100000"
    with _unattended(tmp_path, installed, gateway, interval=0.1) as host:
        host.run_by(f"{strace} -f -qq -A -o {trace} -etrace=flock -e {delay}")
        sessions = _sessions_until(host, lambda: _slipped_in(trace) >= 3 and len(host.starts()) > 1)
        until(lambda: attempts(gateway) == sessions)
        host.settle()
    assert sessions == attempts(gateway)


def _sessions_until(host: Unattended, is_enough: Callable[[], bool]) -> int:
    """Have sessions, one after another and at odd times; return how many there were."""
    deadline = time.monotonic() + 2 * TIMEOUT
    sessions = 0
    while not is_enough():
        assert time.monotonic() < deadline
        host.sessions(1)
        sessions += 1
        time.sleep(0.05 * (sessions % 13))
    return sessions


def _slipped_in(trace: Path) -> int:
    """Count how often a pusher took its turn again, after it had given it up."""
    if not trace.exists():
        return 0
    turns = [line for line in trace.read_text().splitlines() if "flock(0" in line]
    return sum(
        "LOCK_UN" in first and "LOCK_EX" in then and first.split()[0] == then.split()[0]
        for first, then in pairwise(turns)
    )


def test_a_group_can_be_deleted(tmp_path: Path, gateway: Pushgateway) -> None:
    """A host that retires leaves the gateway; its store stays as it is."""
    _spool(tmp_path)
    _once(tmp_path, gateway.url, f"--instance={INSTANCE}", "--push-interval=0.1")
    assert gateway.families(INSTANCE)
    for url, status, lines in ((gateway.url, 0, 0), ("http://127.0.0.1:9", 1, 1)):
        done = forkserver.run(f"--instance={INSTANCE}", "--delete-group", f"--push={url}")
        assert (status, lines) == (done.returncode, len(done.stderr.splitlines()))
    assert eventually(lambda: not gateway.families(INSTANCE))  # it answers before it has done it
