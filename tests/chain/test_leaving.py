"""Clients that leave, behind a server that ends sessions by SIGTERM: lines = counted = logins, killed 0."""

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.chain.conftest import OFFERED
from tests.support.authority import Authority
from tests.support.keeper import Keeper
from tests.support.leaving import LOGINS, OTHERS, WAYS_OUT, Connection, Doing
from tests.support.popup import shell
from tests.support.scraper import counts
from tests.support.server import HOST, Server, serving

REQUIRED = {"UCSPITLS": "!"}
POP3S: dict[str, str] = {}

# Accepts by the name, and serves until its client has gone.
_CHECKER = shell(
    "read -r login <&3; case $login in acc*) echo +OK; while read -r _; do echo +OK; done;; *) exit 1;; esac"
)


@pytest.fixture(params=["with a sidecar", "with only a spool"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeper]:
    """Return a sidecar that serves, or one that comes when all is over."""
    with Keeper(tmp_path) as keeper:
        if request.param == "with a sidecar":
            keeper.start()
        else:
            keeper.make_spool()
        yield keeper


class _Port:
    """A port behind the stand-in, and what came of its sessions."""

    def __init__(self, server: Server, certificates: Authority, mode: str) -> None:
        self._server, self._context, self._mode = server, certificates.trusted(), mode
        self.connections = 0

    def connect(self) -> Connection:
        """Return a client that was greeted, and speaks TLS where that is wanted."""
        self.connections += 1
        client = Connection(self._server.port)
        if self._mode == "POP3S":
            client.start_tls(self._context)
        assert client.reply().startswith(b"+OK")
        if self._mode == "STLS":
            assert client.ask(b"STLS").startswith(b"+OK")
            client.start_tls(self._context)
        return client

    def visit(self, *doings: Doing) -> int:
        """Have clients that do each of these, and leave in each way; how many there were."""
        visits = [*product(doings, WAYS_OUT)]
        for doing, leave in visits:
            client = self.connect()
            doing(client)
            leave(client)
        return len(visits)


def _counted(keeper: Keeper, server: Server) -> tuple[Counter[tuple[str, ...]], Counter[tuple[str, ...]]]:
    """Return attempts and sessions once all is over and drained."""
    server.settled_records()
    if keeper.ended():
        keeper.start()
    numbers = keeper.drained()
    return counts(numbers, "auth_attempts_total", "result", "protocol"), counts(
        numbers, "sessions_total", "ended", "protocol"
    )


@pytest.mark.parametrize(
    ("mode", "env", "protocol"),
    [("POP3S", POP3S, "POP3S"), ("STLS", OFFERED, "POP3S"), ("in clear", OFFERED, "POP3")],
)
def test_each_login_has_its_record_and_counts(  # noqa: PLR0913, PLR0917 - pytest's parameters
    popup: list[str],
    certificates: Authority,
    keeper: Keeper,
    mode: str,
    env: dict[str, str],
    protocol: str,
) -> None:
    """However the client leaves, and whoever has gone by the time of the record."""
    told = {**certificates.environment, **keeper.environment, **env}
    peer = [sys.executable, "-m", "tests.support.ucspi_tls", HOST, "0"]
    with serving([*peer, *popup, "pop.example.org", *_CHECKER], told) as server:
        port = _Port(server, certificates, mode)
        logins, others = port.visit(*LOGINS), port.visit(*OTHERS)
        attempts, sessions = _counted(keeper, server)
        lines = Counter((line.partition(":")[0].lower() + "ed", protocol) for line in server.records())
        assert b"" == server.errors.read_bytes()
    assert lines == attempts
    assert {("accepted", protocol): logins // 3, ("rejected", protocol): 2 * logins // 3} == lines
    ends = {"accepted": logins // 3, "rejected": 2 * logins // 3, "quit": others // 3}
    assert {(word, protocol): count for word, count in ends.items()}.items() <= sessions.items()
    assert {"accepted", "rejected", "quit", "disconnected"} == {ended for ended, _ in sessions}
    assert logins + others == port.connections == sessions.total()


def test_each_user_in_clear_has_its_record_and_counts(
    popup: list[str], certificates: Authority, keeper: Keeper
) -> None:
    """Where TLS is required: the server ends the session as soon as it may."""
    told = {**certificates.environment, **keeper.environment, **REQUIRED}
    peer = [sys.executable, "-m", "tests.support.ucspi_tls", HOST, "0"]
    with serving([*peer, *popup, "pop.example.org", *_CHECKER], told) as server:
        port = _Port(server, certificates, "in clear")
        visits = port.visit(lambda client: client.send(b"USER x"))
        attempts, sessions = _counted(keeper, server)
        assert ["Reject::STLS::Any P:POP3 S:127.0.0.1:unknown ?~ 'unknown'"] * visits == server.records()
    assert {("rejected", "POP3"): visits} == attempts
    assert {("tls_required", "POP3"): visits} == sessions
