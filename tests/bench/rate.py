"""How many logins a second a real tcpserver gets through our popup, and what an idle session holds.

The subprogram is /bin/true: an authenticator that lets everybody in and does nothing. A client logs in,
waits for the end of the connection, and comes again.
"""

import re
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.server import HOST, Server, serving, tcpserver

SECONDS = 5.0
_LOGIN = b"USER bob\r\nPASS secret\r\n"


def rates(
    popup: Path, clients: tuple[int, ...], environ: Mapping[str, str] | None = None, *, at_once: int = 40
) -> dict[int, float]:
    """Return logins a second at each number of clients at once; `at_once` is tcpserver's -c."""
    command = tcpserver(str(popup), "pop.example.org", "/bin/true", at_once=at_once)
    with serving(command, environ or {}) as server:
        return {number: _rate(server.port, number) for number in clients}


def _rate(port: int, clients: int) -> float:
    started = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        logins = sum(pool.map(lambda _: _log_in_until(port, started + SECONDS), range(clients)))
    return logins / (time.monotonic() - started)


def _log_in_until(port: int, deadline: float) -> int:
    logins = 0
    while time.monotonic() < deadline:
        log_in(port)
        logins += 1
    return logins


def log_in(port: int) -> float:
    """Log in once; the seconds from the last command to the end of the connection."""
    with socket.create_connection((HOST, port)) as line:
        line.recv(512)
        line.sendall(_LOGIN)
        said = time.monotonic()
        while line.recv(512):
            pass
        return time.monotonic() - said


def idle_memory(popup: Path, environ: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Return the KiB of private memory of an idle session, and of its PSS (shared pages counted in part)."""
    command = tcpserver(str(popup), "pop.example.org", "/bin/true")
    with serving(command, environ or {}) as server, socket.create_connection((HOST, server.port)) as line:
        line.recv(512)
        return _memory(_session(server))


def _session(server: Server) -> int:
    (pid,) = server.processes()
    return pid


def _memory(pid: int) -> tuple[int, int]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    sizes = {name: int(size) for name, size in re.findall(r"^(\w+): +([0-9]+) kB$", text, re.MULTILINE)}
    return sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Pss"]
