"""Where something runs short: descriptors, and room at a client that takes no reply."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.qmail_popup.listener.conftest import Certified
from tests.support import descriptors, secure
from tests.support.listener import Listener as SidecarSocket
from tests.support.processes import opened
from tests.support.programs import need_root
from tests.support.resident import LOGIN, Listener, read_all, read_line
from tests.support.stand_in import FIRST, SLOT, StandIn, client, login
from tests.support.waiting import TIMEOUT, until

_PID = re.compile(" pid [0-9]+ ")
_STANDARD = 6  # descriptors that every process of ours has
_FEW = 150
_USER = 54_321  # nobody else's, whose descriptors would count
_MANY = (
    *("--workers", "2", "--connections", "500", "--connections-per-client", "500"),
    *("--sessions", "500"),
)


def test_records_that_wait_leave_descriptors_for_logins(tmp_path: Path) -> None:
    """However many records a stopped reader holds up, each with its connection to the sidecar, all log in."""
    reader, writer = os.pipe()
    descriptors.fill(writer)
    options = ("--connections", "10", "--sessions", "2", "--workers", "1")
    env = {"QMAIL_POPUP_SIDECAR": str(tmp_path / "socket"), "QMAIL_POPUP_SPOOL": str(tmp_path)}

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))

    with (
        SidecarSocket(tmp_path / "socket"),
        Listener(tmp_path, *options, env=env, log=writer, prepare=prepare) as listener,
    ):
        assert "may be needed" not in listener.errors()
        assert {b"+OK\r\n+OK \r\n"} == {listener.talk(LOGIN) for _ in range(150)}
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(("limit", "warned"), [(116, []), (115, ["116"])])
def test_too_few_descriptors_are_one_line(tmp_path: Path, limit: int, warned: list[str]) -> None:
    """A client each, three for each subprogram, and a hundred for all else."""
    options = ("--connections", "10", "--sessions", "2", "--workers", "1")

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, limit))

    with Listener(tmp_path, *options, prepare=prepare) as listener:
        line = rf"up to (\d+) descriptors may be needed, but the limit is {limit}; see ulimit -Hn\n"
        assert warned == re.findall(line, listener.errors())


def test_clients_for_whom_there_is_no_descriptor(tmp_path: Path) -> None:
    """They are let go, with one line, their worker is not ended, and the next client is served."""
    with StandIn(tmp_path, ["/bin/true"]) as stand_in:
        _is_served(stand_in, FIRST + SLOT)
        _, hard = resource.prlimit(stand_in.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(stand_in.pid, resource.RLIMIT_NOFILE, (_STANDARD, hard))
        for number in (1, 2):
            near, far = client()
            with closing(near):
                stand_in.send(login(FIRST + SLOT + 256 * number), far.fileno())
                far.close()
                assert b"" == near.recv(1)
        resource.prlimit(stand_in.pid, resource.RLIMIT_NOFILE, (hard, hard))
        _is_served(stand_in, FIRST + SLOT + 256 * 3)
        assert 1 == sum("out of descriptors" in line for line in stand_in.lines())
        assert not stand_in.is_ended()


def test_a_worker_for_whom_there_is_no_descriptor(tmp_path: Path) -> None:
    """It waits until the spawner has room for its channel, and the spawner goes on."""
    with StandIn(tmp_path, ["/bin/true"]) as stand_in:
        _is_served(stand_in, FIRST + SLOT)
        _, hard = resource.prlimit(stand_in.pid, resource.RLIMIT_NOFILE)
        before = len(opened(stand_in.pid))
        for number in (1, 2):
            resource.prlimit(stand_in.pid, resource.RLIMIT_NOFILE, (_STANDARD, hard))
            os.kill(stand_in.worker, signal.SIGKILL)
            until(stand_in.is_ended)
            stand_in.replace()
            near, far = client()
            with closing(near):
                frame = login(FIRST + SLOT + 256 * number)
                stand_in.send(frame, far.fileno())
                far.close()
                until(lambda: before - 4 == len(opened(stand_in.pid)))  # and no channel, pidfd and reserve
                resource.prlimit(stand_in.pid, resource.RLIMIT_NOFILE, (hard, hard))
                assert b"" == near.recv(1)
            until(lambda: before == len(opened(stand_in.pid)))
        assert 3 == len(stand_in.records())


def _drop_privileges() -> None:
    """Become a user without privileges who may have few descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FEW, _FEW))
    os.setgroups([])
    os.setresgid(_USER, _USER, _USER)
    os.setresuid(_USER, _USER, _USER)


def test_descriptors_on_their_way(tmp_path: Path) -> None:
    """Only so many may be (unix(7)): logins wait for a stopped spawner, twice, and all are served."""
    need_root()
    with Listener(tmp_path, *_MANY, prepare=_drop_privileges) as listener, ExitStack() as stack:
        for _ in range(2):
            peers = _wait_for(listener, stack)
            os.kill(listener.spawner(), signal.SIGCONT)
            assert {b""} == {read_all(peer) for peer in peers}
        listener.wait_for_records(2 * (_FEW + 20))
        assert "killed" not in listener.errors()


def test_a_worker_while_descriptors_are_on_their_way(tmp_path: Path) -> None:
    """It cannot be connected to the spawner, and is started again; the spawner, which has logins, is not."""
    need_root()
    with Listener(tmp_path, *_MANY, prepare=_drop_privileges) as listener, ExitStack() as stack:
        spawner, killed = listener.spawner(), listener.workers()[0]
        _wait_for(listener, stack)
        os.kill(killed, signal.SIGKILL)
        until(lambda: listener.errors().count("was killed") >= 2)
        assert [spawner] == listener.spawners()
        os.kill(spawner, signal.SIGCONT)
        until(lambda: b"+OK\r\n+OK \r\n" == listener.talk(LOGIN))


def _wait_for(listener: Listener, stack: ExitStack) -> list[socket.socket]:
    """Stop the spawner, log in more often than descriptors may be on their way, and return the clients."""
    os.kill(listener.spawner(), signal.SIGSTOP)
    peers = [stack.enter_context(listener.connect()) for _ in range(_FEW + 20)]
    for peer in peers:
        peer.sendall(LOGIN)
        assert b"+OK\r\n+OK \r\n" == read_line(peer) + read_line(peer)
    return peers


def test_a_login_over_tls_without_a_descriptor(tmp_path: Path, certified: Certified) -> None:
    """Where a worker can make no socket pair its client is told so, and one that comes later logs in."""
    need_root()  # only root may look into a worker
    limit, trusted = 50, certified.issuer.trusted()

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    options = (*certified.options, "--workers", "1")
    with Listener(tmp_path, *options, prepare=prepare) as listener:
        (worker,) = listener.workers()
        with ExitStack() as stack, secure.pop3s(listener, trusted) as client:
            while len(os.listdir(f"/proc/{worker}/fd")) < limit:
                assert b"+OK\r\n" == read_line(stack.enter_context(listener.connect()))
            client.sendall(LOGIN)
            assert b"+OK \r\n-ERR unable to open pipe\r\n" == read_all(client)
        assert b"+OK \r\n" == secure.talk(secure.pop3s(listener, trusted), LOGIN)
        assert 1 == len(listener.wait_for_records(1))


def _is_served(stand_in: StandIn, number: int) -> None:
    near, far = client()
    with closing(near), closing(far):
        stand_in.send(login(number), far.fileno())
        until(lambda: any(f" pid {number} " in record for record in stand_in.records()))


def test_clients_that_take_no_reply(tmp_path: Path) -> None:
    """There are as many as there may be subprograms; of one more, who has waited longest is let go."""
    with StandIn(tmp_path, ["/bin/false"], "--sessions", "2") as stand_in, ExitStack() as stack:
        for number in range(5):
            near, far = socket.socketpair()  # as over TLS: when it is full it stays full, unlike TCP
            stack.enter_context(near)
            _fill(far)
            stand_in.send(login(FIRST + SLOT + number * 256, tls=3, suite=1), far.fileno())
            far.close()
            until(partial(_have_run, stand_in, number + 1))
        until(lambda: len(stand_in.records()) >= 3)
        gone = [f" pid {FIRST + SLOT + number * 256} " for number in range(3)]
        assert gone == [text for record in stand_in.records() for text in _PID.findall(record)]


def _have_run(stand_in: StandIn, count: int) -> bool:
    return count == sum("status: 0/2" in line for line in stand_in.lines())


def _fill(peer: socket.socket) -> None:
    """Send until not one byte more is taken."""
    for size in (65536, 1):
        with suppress(BlockingIOError):
            while True:
                peer.send(bytes(size), socket.MSG_DONTWAIT)


def test_a_reader_of_descriptor_2_that_has_stopped() -> None:
    """What the first process has to say is lost: nobody is started or ended later for it."""
    reader, writer = os.pipe()
    descriptors.fill(writer)
    statement = "from qmail_popup.listener.options import complain; complain('lost')"
    subprocess.run([sys.executable, "-c", statement], stderr=writer, timeout=TIMEOUT, check=True)
    os.close(writer)
    with open(reader, "rb") as said:
        assert b"lost" not in said.read()
