"""Many concurrent clients of different kinds, and what each should add to the counts."""

import random
import socket
import time
from collections import Counter
from contextlib import suppress
from threading import Lock
from typing import NamedTuple

from tests.support.popup import shell
from tests.support.server import tcpserver

# Every connection is counted, so no other client may connect: tests running in parallel have clients that
# look for servers on 127.0.0.1 that have ended, and the kernel reuses their ports.
HOST = "127.1.1.1"
AT_ONCE = 16
_PATIENCE_SECONDS = 60.0
# Before a client sends anything. Many sessions should be open during a fault; their total number matters
# little, and without pauses they would use all of the machine's time.
_PAUSES_SECONDS = 0, 0.3, 1.5, 4

# A single process: dash's read drops the NULs, and the name comes first.
SUBPROGRAM = shell(
    "read -r login <&3; case $login in a*) exit 0;; t*) exit 111;; c*) kill -9 $$;; *) exit 1;; esac"
)


class Sort(NamedTuple):
    """One kind of client: its server, what it sends, how its session ends."""

    server: str
    says: bytes
    ended: str
    stays: bool = True
    """Whether it waits for the server to close."""


def _login(name: str) -> bytes:
    return f"USER {name}\r\nPASS x\r\n".encode()


SORTS = (
    *(Sort(server, _login("a"), "accepted") for server in ("plain", "secure")),
    *(Sort(server, _login("r"), "rejected") for server in ("plain", "secure")),
    *(Sort(server, b"APOP a x\r\n", "accepted") for server in ("plain", "secure")),
    *(Sort(server, b"APOP r x\r\n", "rejected") for server in ("plain", "secure")),
    Sort("plain", _login("t"), "rejected"),
    Sort("plain", _login("c"), "crashed"),
    Sort("strict", _login("a"), "tls_required"),
    Sort("plain", b"QUIT\r\n", "quit"),
    Sort("plain", b"USER a\r\n", "disconnected", stays=False),
    Sort("secure", b"", "disconnected", stays=False),
)

# Environment of each server's popups: `strict` requires TLS but cannot start it, `secure` has it already.
SERVERS = {
    "plain": {"POP3AUTH": "apop"},
    "secure": {"POP3AUTH": "apop", "SSL_PROTOCOL": "TLSv1.3"},
    "strict": {"UCSPITLS": "!"},
}


def server_for(*program: str) -> list[str]:
    """Return the command line of a server that runs the program for each client."""
    return tcpserver(*program, at_once=2 * AT_ONCE, host=HOST)


class Crowd:
    """Clients that connect repeatedly.

    sessions: number of accepted connections, by (ended, protocol)
    """

    def __init__(self, ports: dict[str, int], seed: int) -> None:
        """ports: by server."""
        self._ports, self._random, self._lock = ports, random.Random(seed), Lock()  # noqa: S311
        self.sessions: Counter[tuple[str, ...]] = Counter()

    def visit(self) -> None:
        """Run one client to its end; AT_ONCE threads do so concurrently."""
        with self._lock:
            sort, pause = self._random.choice(SORTS), self._random.choice(_PAUSES_SECONDS)
        with socket.create_connection((HOST, self._ports[sort.server]), timeout=_PATIENCE_SECONDS) as client:
            time.sleep(pause)
            with suppress(ConnectionError):  # its popup was killed
                client.sendall(sort.says)
                while sort.stays and client.recv(4096):
                    pass
        protocol = "POP3S" if sort.server == "secure" else "POP3"
        with self._lock:
            self.sessions[sort.ended, protocol] += 1
