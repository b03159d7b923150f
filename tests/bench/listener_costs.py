"""What one connection costs: the CPU of a server's whole process tree, over rounds in turn."""

import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.bench.listener_servers import Running
from tests.support.resident import HOST

_TICK = os.sysconf("SC_CLK_TCK")
_SETTLED_SECONDS = 0.5  # for processes that are still ending
Visit = Callable[[int], None]


def login(port: int) -> None:
    """Log in, and wait for the end of the connection."""
    with socket.create_connection((HOST, port)) as peer:
        peer.recv(512)
        ask(peer, b"USER bob\r\n")
        peer.sendall(b"PASS secret\r\n")
        end(peer)


def mailbox(port: int) -> None:
    """Log in, look at the mailbox, and leave."""
    with socket.create_connection((HOST, port)) as peer:
        peer.recv(512)
        for line in (b"USER bob\r\n", b"PASS secret\r\n", b"STAT\r\n"):
            ask(peer, line)
        peer.sendall(b"QUIT\r\n")
        end(peer)


def leave(port: int) -> None:
    """Take the greeting, and leave."""
    with socket.create_connection((HOST, port)) as peer:
        peer.recv(512)
        peer.sendall(b"QUIT\r\n")
        end(peer)


def come(port: int) -> None:
    """Connect, and wait for the end of the connection."""
    with socket.create_connection((HOST, port)) as peer:
        end(peer)


def ask(peer: socket.socket, line: bytes) -> None:
    """Say a line, and take its good answer."""
    peer.sendall(line)
    if not (reply := peer.recv(512)).startswith(b"+OK"):
        raise RuntimeError(f"not +OK: {reply!r}")


def end(peer: socket.socket) -> None:
    """Wait for the end of the connection."""
    try:
        while peer.recv(512):
            pass
    except ConnectionResetError:
        pass


def costs(servers: Mapping[str, tuple[Running, Visit]], rounds: int, each: int) -> dict[str, float]:
    """Return the milliseconds of CPU that a connection costs each server."""
    for running, visit in servers.values():
        _visit(visit, running.port, each)
    time.sleep(_SETTLED_SECONDS)
    before = {name: _spent(running) for name, (running, _) in servers.items()}
    for _ in range(rounds):
        for running, visit in servers.values():
            _visit(visit, running.port, each)
    time.sleep(_SETTLED_SECONDS)
    number = rounds * each
    return {name: (_spent(running) - before[name]) / number * 1000 for name, (running, _) in servers.items()}


def _visit(visit: Visit, port: int, times: int) -> None:
    for _ in range(times):
        visit(port)


def _spent(running: Running) -> float:
    return sum(map(_cpu, (running.pid, *running.others)))


def _cpu(root: int) -> float:
    """Return the seconds of a process, of its descendants, and of those of them that have ended."""
    fields = {int(path.parent.name): _fields(path) for path in Path("/proc").glob("[0-9]*/stat")}
    return sum(sum(map(int, fields[pid][11:15])) for pid in _tree(root, fields)) / _TICK


def _fields(stat: Path) -> list[str]:
    try:
        return stat.read_text().rpartition(") ")[2].split()
    except OSError:
        return ["Z", "0", *["0"] * 13]


def _tree(root: int, fields: Mapping[int, Sequence[str]]) -> list[int]:
    children = [pid for pid, field in fields.items() if int(field[1]) == root]
    return [root, *(pid for child in children for pid in _tree(child, fields))]


def memory(root: int) -> int:
    """Return the KiB of private memory of a process and its descendants."""
    fields = {int(path.parent.name): _fields(path) for path in Path("/proc").glob("[0-9]*/stat")}
    return sum(_private(pid) for pid in _tree(root, fields))


def _private(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def greetings(port: int, clients: int, count: int) -> list[float]:
    """Return the milliseconds from connect to greeting of `count` connections, `clients` at a time, sorted.

    One loop does it, so that the clients do not wait for each other.
    """
    epoll = select.epoll()
    begun: dict[int, tuple[socket.socket, float]] = {}
    taken: list[float] = []
    left = count
    while begun or left:
        while left and len(begun) < clients:
            left -= 1
            peer = socket.socket()
            peer.setblocking(False)  # noqa: FBT003  it has no keyword
            started = time.perf_counter()
            peer.connect_ex((HOST, port))
            begun[peer.fileno()] = peer, started
            epoll.register(peer, select.EPOLLIN)
        ready = epoll.poll()
        now = time.perf_counter()
        for fd, _ in ready:
            peer, started = begun.pop(fd)
            taken.append((now - started) * 1000)
            peer.close()
    return sorted(taken)


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that `part` of them do not exceed."""
    return values[min(len(values) - 1, int(len(values) * part))]
