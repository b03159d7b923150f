"""Two hundred sessions at once under tcpserver, all with the same log."""

import socket
from contextlib import ExitStack
from pathlib import Path

from tests.support.popup import shell
from tests.support.server import HOST, Server, serving, tcpserver
from tests.support.waiting import TIMEOUT

_SESSIONS = 200
_NAMES = [f"{'a' if number % 3 else 'r'}{number}-{'n' * number}" for number in range(_SESSIONS)]
"""Those that begin with `a` are accepted; each has a length of its own, so that a torn line would show."""

_CHECK = shell("case $(tr '\\0' ' ' <&3) in a*) echo welcome ;; *) exit 1 ;; esac")


def _serve_all(server: Server) -> dict[str, bytes]:
    """Open all, then log all in, then read all; return what each client got."""
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(socket.create_connection((HOST, server.port), timeout=TIMEOUT * 4))
            for name in _NAMES
        }
        for client in clients.values():
            assert b"+OK\r\n" == client.recv(5, socket.MSG_WAITALL)
        for name, client in clients.items():
            client.sendall(f"USER {name}\r\nPASS x\r\n".encode())
        return {name: b"".join(iter(lambda: client.recv(65536), b"")) for name, client in clients.items()}  # noqa: B023


def test_every_record_is_whole_and_none_is_missing(installed: Path) -> None:
    """One line for each session, and to each client its own reply."""
    program = tcpserver(str(installed / "bin/qmail-popup"), "pop.example.org", *_CHECK, at_once=_SESSIONS)
    with serving(program, {}) as server:
        said = _serve_all(server)
        records = server.settled_records()
        assert b"" == server.errors.read_bytes()
    results = {name: "Accept" if name.startswith("a") else "Reject" for name in _NAMES}
    replies = {"Accept": b"+OK \r\nwelcome\n", "Reject": b"+OK \r\n-ERR authorization failed\r\n"}
    assert {name: replies[result] for name, result in results.items()} == said
    wanted = [
        f"{result}::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ '{name}'" for name, result in results.items()
    ]
    assert sorted(wanted) == sorted(records)
