"""How many there may be, how long they may take, and what is logged of them."""

import os
import re
import signal
import socket
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from tests.support.processes import opened
from tests.support.programs import need_root
from tests.support.resident import HOST, HOSTNAME, LOGIN, Listener, read_all, read_line
from tests.support.waiting import until

_HANGING = ("/bin/sh", "-c", "echo begun; read line; echo $line")
_SERVED = b"+OK\r\n+OK \r\n"


def test_the_longest_silent_has_to_go(tmp_path: Path) -> None:
    """At the limit of connections a newcomer is served, and who has said nothing for longest is closed."""
    options = ("--connections", "5", "--workers", "3")
    with Listener(tmp_path, *options) as listener, ExitStack() as stack:
        peers = [stack.enter_context(listener.connect()) for _ in range(5)]
        for peer in (*peers[1:], peers[0]):
            read_line(peer)
            peer.sendall(b"NOOP\r\n")
            assert b"+OK \r\n" == read_line(peer)
        newcomer = stack.enter_context(listener.connect())
        assert b"+OK\r\n" == read_line(newcomer)
        assert b"" == read_all(peers[1])
        for peer in (peers[0], *peers[2:], newcomer):
            peer.sendall(b"NOOP\r\n")
            assert b"+OK \r\n" == read_line(peer)


def test_a_crowd(tmp_path: Path) -> None:
    """However many come, no more stay than there may be, and the last is served."""
    options = ("--connections", "20", "--connections-per-client", "1000", "--workers", "2")
    with Listener(tmp_path, *options) as listener, ExitStack() as stack:
        peers = [stack.enter_context(listener.connect(f"127.0.0.{n % 50 + 2}")) for n in range(200)]
        until(lambda: 20 >= _established(listener))
        assert b"+OK\r\n+OK \r\n" == read_line(peers[-1]) + _ask(peers[-1])
        assert _SERVED == listener.talk(LOGIN)


def _ask(peer: socket.socket) -> bytes:
    peer.sendall(b"NOOP\r\n")
    return read_line(peer)


def _established(listener: Listener) -> int:
    """Return how many of the listener's connections are open at its own end (proc(5), net/tcp)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ours = f":{listener.port:04X}"
    return sum(line.split()[1].endswith(ours) and line.split()[3] == "01" for line in lines)


def test_a_worker_that_is_stopped(tmp_path: Path) -> None:
    """While it keeps the connection that should be closed, others close their own and stay within limits."""
    need_root()  # only root may look into a worker
    options = ("--connections", "5", "--sessions", "2", "--workers", "2")
    with Listener(tmp_path, *options) as listener, ExitStack() as stack:
        before = {pid: len(opened(pid)) for pid in listener.workers()}
        assert b"+OK\r\n" == read_line(stack.enter_context(listener.connect()))
        (stopped,) = (pid for pid, count in before.items() if len(opened(pid)) > count)
        os.kill(stopped, signal.SIGSTOP)
        peers = [stack.enter_context(listener.connect()) for _ in range(12)]
        assert {b"+OK\r\n"} == {read_line(peer) for peer in peers}
        assert {b""} == {read_all(peer) for peer in peers[:6]}
        os.kill(stopped, signal.SIGCONT)
        assert {b"+OK \r\n"} == {_ask(peer) for peer in peers[-5:]}
        assert "ending it" not in listener.errors()


def test_a_client_with_too_many(tmp_path: Path) -> None:
    """Its newcomer is closed without a word; others are served, and so is it when it has fewer."""
    options = ("--connections-per-client", "3", "--workers", "2")
    with Listener(tmp_path, *options) as listener, ExitStack() as stack:
        peers = [stack.enter_context(listener.connect()) for _ in range(3)]
        for peer in peers:
            assert b"+OK\r\n" == read_line(peer)
        with listener.connect() as newcomer:
            assert b"" == read_all(newcomer)
        assert _SERVED == listener.talk(LOGIN, "127.0.0.2")
        peers[0].close()
        until(lambda: _SERVED == listener.talk(LOGIN))


def test_a_login_waits_for_a_place(tmp_path: Path) -> None:
    """At the limit of sessions nobody is refused, and who has waited longest is next."""
    options = ("--sessions", "1", "--workers", "1", "--verbose")  # of two one may be quicker
    with Listener(tmp_path, *options, subprogram=_HANGING) as listener, ExitStack() as stack:
        first, second, third = peers = [stack.enter_context(listener.connect()) for _ in range(3)]
        for peer in peers:
            read_line(peer)
            peer.sendall(LOGIN)
            assert b"+OK \r\n" == read_line(peer)
        assert b"begun\n" == read_line(first)
        for peer, following in ((first, second), (second, third)):
            peer.sendall(b"done\n")
            assert b"done\n" == read_all(peer)
            assert b"begun\n" == read_line(following)
        assert "status: 2/1" not in listener.errors()
        told = ": logins wait, because --sessions allows 1 subprograms at a time\n"
        assert 1 == listener.errors().count(told)


def test_a_login_that_waits_counts_as_its_clients(tmp_path: Path) -> None:
    """Who has as many waiting as it may have connections gets no more of them."""
    options = ("--sessions", "1", "--connections-per-client", "2", "--workers", "1")
    with Listener(tmp_path, *options, subprogram=_HANGING) as listener, ExitStack() as stack:
        for _ in range(3):
            peer = stack.enter_context(listener.connect())
            peer.sendall(LOGIN)
            assert b"+OK\r\n+OK \r\n" == read_line(peer) + read_line(peer)
        until(partial(_is_refused, listener))
        with listener.connect("127.0.0.2") as other:
            assert b"+OK\r\n" == read_line(other)


def _is_refused(listener: Listener) -> bool:
    with listener.connect() as newcomer:
        return b"" == read_line(newcomer)


def test_the_login_timeout(tmp_path: Path) -> None:
    """It ends a session however busy its client is, and ends none that has logged in."""
    with (
        Listener(tmp_path, subprogram=_HANGING, env={"QMAIL_POPUP_LOGIN_TIMEOUT": "2"}) as listener,
        listener.connect() as logged_in,
        listener.connect() as busy,
    ):
        logged_in.sendall(LOGIN)
        began = time.monotonic()
        said = read_line(busy)
        while said:
            busy.sendall(b"NOOP\r\n")
            said = read_line(busy)
        assert time.monotonic() - began >= 1.9
        logged_in.sendall(b"still here\n")
        assert read_all(logged_in).endswith(b"still here\n")


def test_the_idle_timeout(tmp_path: Path) -> None:
    """A silent client is dropped without a word."""
    with (
        Listener(tmp_path, env={"QMAIL_POPUP_TIMEOUT": "1"}) as listener,
        listener.connect() as silent,
    ):
        silent.sendall(b"USER bo")
        assert b"+OK\r\n" == read_all(silent)


def test_verbose(tmp_path: Path) -> None:
    """The lines are tcpserver's, with the session's number, and the status that its popup would have had."""
    need_root()  # the log has one line more without
    with Listener(tmp_path, "--verbose", "--sessions", "7", subprogram=["/bin/false"]) as listener:
        with listener.connect() as peer:
            port = peer.getsockname()[1]
            peer.sendall(LOGIN)
            read_all(peer)
        until(lambda: " status 256" in listener.errors())
        (number,) = re.findall(r" pid ([0-9]+) ", listener.wait_for_records(1)[0])
        assert [
            "status: 0/7",
            f"pid {number} from {HOST}",
            f"ok {number} {HOSTNAME}:{HOST}:{listener.port} :{HOST}::{port}",
            "status: 1/7",
            "status: 0/7",
            f"end {number} status 256",
        ] == [line.partition(": ")[2] for line in listener.errors().splitlines() if "pop3 on" not in line]


def test_verbose_without_a_login(tmp_path: Path) -> None:
    """Who leaves with QUIT has status 0, who is refused a deny."""
    options = ("--verbose", "--connections-per-client", "1", "--workers", "1")
    with Listener(tmp_path, *options) as listener, listener.connect() as peer:
        read_line(peer)
        with listener.connect() as newcomer:
            assert b"" == read_all(newcomer)
        until(lambda: " status 256" in listener.errors())
        assert re.search(rf"deny [0-9]+ {HOSTNAME}:{HOST}:{listener.port} :{HOST}::", listener.errors())
        peer.sendall(b"QUIT\r\n")
        assert b"+OK \r\n" == read_all(peer)
        until(lambda: " status 0" in listener.errors())


def test_many_in_turn(tmp_path: Path) -> None:
    """Thousands of connections leave neither descriptors nor memory behind, whatever became of them."""
    need_root()  # only root may look into a worker
    with Listener(tmp_path, "--workers", "1", env={"POP3AUTH": "apop"}) as listener:
        pids = [listener.spawner(), *listener.workers()]
        _visit(listener, 300)
        before = [_held(pid) for pid in pids]
        _visit(listener, 3000)
        for pid, (descriptors, memory) in zip(pids, before, strict=True):
            until(partial(_holds_at_most, pid, descriptors))
            assert memory + 300 > _held(pid)[1]


def _visit(listener: Listener, times: int) -> None:
    ways = (b"QUIT\r\n", b"USER bob\r\nPA", b"NOOP\r\n" * 10, b"", b"x" * 5000)
    for number in range(times):
        with socket.create_connection((HOST, listener.port)) as peer:
            peer.sendall(ways[number % len(ways)])
            if number % 100 == 0:
                peer.sendall(LOGIN)
            with suppress(OSError):  # the listener was quicker to hang up
                peer.shutdown(socket.SHUT_WR)
            read_all(peer)


def _holds_at_most(pid: int, descriptors: int) -> bool:
    return descriptors >= _held(pid)[0]


def _held(pid: int) -> tuple[int, int]:
    """Return how many descriptors a process has, and how much memory of its own in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = re.findall(r"^Private_\w+: +([0-9]+) kB", text, re.MULTILINE)
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), sum(map(int, sizes))
