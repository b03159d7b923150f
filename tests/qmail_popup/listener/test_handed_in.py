"""A listener under a service manager: sockets that are handed in, and what the manager is told.

systemd's protocol by hand: sd_listen_fds(3), sd_notify(3).
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import descriptors
from tests.support.load import Load
from tests.support.programs import need_root
from tests.support.resident import CHECKOUT_COMMAND, HOST, LOGIN, Listener, read_all, read_line
from tests.support.waiting import TIMEOUT, until

_SERVED = b"+OK\r\n+OK \r\n"
_HANGING = ("/bin/sh", "-c", "echo begun; read line; echo $line")


@contextmanager
def listening(*hosts: str) -> Iterator[list[socket.socket]]:
    """Give sockets that listen, each on a port that the kernel picks, as systemd opens them."""
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server((host, 0), family=_family(host))) for host in hosts
        ]
        yield sockets


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def ask(sock: socket.socket) -> bytes:
    """Log in there, and return all that comes back."""
    with socket.create_connection(sock.getsockname()[:2], TIMEOUT) as peer:
        peer.sendall(LOGIN)
        return read_all(peer)


def test_it_serves_them(tmp_path: Path) -> None:
    """Of each family, without a --pop3; descriptor 5 is the log, and subprograms hear of none of it."""
    show = ("/bin/sh", "-c", "env | grep ^LISTEN_; ls /proc/self/fd")
    with (
        listening(HOST, "::1") as sockets,
        Listener(tmp_path, subprogram=show, handed_in=sockets) as listener,
    ):
        expected = _SERVED + b"".join(b"%d\n" % fd for fd in range(6))  # 4 is the directory that ls reads
        assert [expected] * 2 == [ask(sock) for sock in sockets]
        listener.reload()
        assert [expected] * 2 == [ask(sock) for sock in sockets]
        assert 4 == len(listener.wait_for_records(4))


def test_three_of_them(tmp_path: Path) -> None:
    """The third is descriptor 5, so the log is wherever --log-descriptor says."""
    with (
        listening(HOST, HOST, HOST) as sockets,
        Listener(tmp_path, "--log-descriptor", "2", handed_in=sockets) as listener,
    ):
        assert [_SERVED] * 3 == [ask(sock) for sock in sockets]
        listener.reload()
        assert [_SERVED] * 3 == [ask(sock) for sock in sockets]
        until(lambda: 6 == listener.errors().count("qmail-popup: pid "))
        assert [] == listener.records()


def test_three_of_them_and_no_log(tmp_path: Path) -> None:
    """Then there is none: a socket of clients is not written to."""
    with listening(HOST, HOST, HOST) as sockets, Listener(tmp_path, handed_in=sockets):
        assert [_SERVED] * 3 == [ask(sock) for sock in sockets]


def test_a_restart(tmp_path: Path) -> None:
    """Refuses nobody, as long as somebody keeps the sockets; who has logged in before goes on."""
    with listening(HOST) as sockets, ExitStack() as stack:
        port = sockets[0].getsockname()[1]
        listener = stack.enter_context(Listener(tmp_path, subprogram=_HANGING, handed_in=sockets))
        logged_in = stack.enter_context(listener.connect())
        logged_in.sendall(LOGIN)
        while read_line(logged_in) != b"begun\n":
            pass
        load = stack.enter_context(Load(port, b"QUIT\r\n", clients=4))
        for _ in range(3):
            load.wait_for_more(10)
            listener.process.terminate()
            assert 0 == listener.process.wait(TIMEOUT)
            listener = stack.enter_context(Listener(tmp_path, subprogram=_HANGING, handed_in=sockets))
        load.wait_for_more(10)
        load.stop()
        assert {_SERVED} == set(load.answers)
        logged_in.sendall(b"still here\n")
        assert b"still here\n" == read_all(logged_in)


def _refused(fds: dict[int, int], *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Hand something in that cannot be served."""
    read_end, write_end = os.pipe()
    standard = {0: os.open("/dev/null", os.O_RDONLY), 1: write_end, 2: write_end}
    listener = (*CHECKOUT_COMMAND, *options, "pop.example.org", "true")
    command = ("/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *listener)
    process = descriptors.start(command, {**standard, **fds}, env={"PATH": os.environ["PATH"], **env})
    descriptors.close(standard.values())
    with open(read_end, encoding="utf-8") as said:
        text = said.read()
    return subprocess.CompletedProcess(command, process.wait(TIMEOUT), text)


@pytest.mark.parametrize(
    ("count", "names", "why"),
    [
        ("1", "imap", "a socket was passed in as 'imap', which is neither pop3 nor pop3s"),
        ("1", "\udcff", "a socket was passed in as '\\udcff', which is neither pop3 nor pop3s"),
        ("1", "pop3:pop3", "1 sockets were passed in, but LISTEN_FDNAMES names 2"),
        ("2", "pop3:pop3", "descriptor 4 was passed in, but is not a socket: Bad file descriptor"),
        ("9" * 12, None, "descriptor 4 was passed in, but is not a socket: Bad file descriptor"),
        ("9" * 5000, None, "descriptor 4 was passed in, but is not a socket: Bad file descriptor"),
        ("0", "", "nothing to listen on"),
        ("-1", None, "nothing to listen on"),
    ],
)
def test_what_makes_no_sense(count: str, names: str | None, why: str) -> None:
    """It is one line, and status 2."""
    told = {} if names is None else {"LISTEN_FDNAMES": names}
    with listening(HOST) as sockets:
        done = _refused({3: sockets[0].fileno()}, LISTEN_FDS=count, **told)
    assert (2, True) == (done.returncode, why in done.stdout), done.stdout


def test_a_log_that_is_handed_in() -> None:
    """A descriptor that is a socket of clients is no log: one line, and status 2."""
    need_root()  # the log has one line more without
    with listening(HOST) as sockets:
        done = _refused({3: sockets[0].fileno()}, "--log-descriptor", "3", LISTEN_FDS="1")
    said = "qmail-popup-listener: --log-descriptor 3 is a socket that was passed in\n"
    assert (2, said) == (done.returncode, done.stdout)


def test_what_is_no_listening_socket(tmp_path: Path) -> None:
    """A file, a socket that does not listen and one that is not of TCP are told."""
    with (
        open(tmp_path / "file", "wb") as file,
        socket.socket() as idle,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind(str(tmp_path / "socket"))
        local.listen()
        for fd, why in (
            (file, "is not a socket"),
            (idle, "is not a listening TCP socket"),
            (local, "is not a listening TCP socket"),
        ):
            done = _refused({3: fd.fileno()}, LISTEN_FDS="1")
            assert (2, True) == (done.returncode, why in done.stdout), done.stdout


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_what_the_manager_is_told(tmp_path: Path, *, is_abstract: bool) -> None:
    """READY once it serves, RELOADING and READY around a reload, and STOPPING."""
    name = f"\0{tmp_path}" if is_abstract else str(tmp_path / "notify")
    env = {"NOTIFY_SOCKET": name.replace("\0", "@")}
    with manager(name) as peer, Listener(tmp_path, env=env) as listener:
        assert ["READY=1", "STATUS="] == told(peer)
        assert _SERVED == listener.talk(LOGIN)
        listener.reload()
        reloading, since = told(peer)
        assert ("RELOADING=1", True) == (reloading, since.startswith("MONOTONIC_USEC="))
        assert ["READY=1", "STATUS="] == told(peer)
        listener.process.terminate()
        assert ["STOPPING=1"] == told(peer)
        assert 0 == listener.process.wait(TIMEOUT)


def test_what_the_manager_is_told_of_a_reload_that_fails(tmp_path: Path) -> None:
    """That it is over, and why it failed, which is no longer said once one has succeeded."""
    python, name = tmp_path / "python", str(tmp_path / "notify")
    python.symlink_to(CHECKOUT_COMMAND[0])
    command = (str(python), *CHECKOUT_COMMAND[1:])
    with manager(name) as peer, Listener(tmp_path, env={"NOTIFY_SOCKET": name}, command=command) as listener:
        assert ["READY=1", "STATUS="] == told(peer)
        python.unlink()
        listener.refuses_to_reload()
        assert "RELOADING=1" == told(peer)[0]
        ready, status = told(peer)
        assert ("READY=1", True) == (ready, status.startswith("STATUS=Not reloaded: cannot execute "))
        python.symlink_to(CHECKOUT_COMMAND[0])
        listener.reload()
        assert "RELOADING=1" == told(peer)[0]
        assert ["READY=1", "STATUS="] == told(peer)


@contextmanager
def manager(name: str) -> Iterator[socket.socket]:
    """Give the socket that a service manager reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.bind(name)
        peer.settimeout(TIMEOUT)
        yield peer


def told(peer: socket.socket) -> list[str]:
    """Wait for the next state; its lines."""
    return peer.recv(4096).decode().splitlines()


def test_a_manager_that_does_not_listen(tmp_path: Path) -> None:
    """It is no reason not to serve."""
    with Listener(tmp_path, env={"NOTIFY_SOCKET": str(tmp_path / "nobody")}) as listener:
        assert _SERVED == listener.talk(LOGIN)
