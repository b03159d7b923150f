"""The whole chain with a sidecar beside it: what /metrics shows of logins, and that nobody waits."""

import os
import poplib
import time
from collections.abc import Iterator
from contextlib import closing
from math import inf
from pathlib import Path

import pytest

from tests.chain.conftest import OFFERED, Checker, serve_tls
from tests.support.authority import Authority
from tests.support.clients import curl
from tests.support.keeper import Keeper
from tests.support.maildir import MESSAGES, Account
from tests.support.popup import LOGIN, REFUSES, Popup
from tests.support.scraper import counts
from tests.support.server import HOST, serving, tcpserver
from tests.support.subprogram import REFUSED
from tests.support.waiting import TIMEOUT

_SAMPLES, _SAMPLES_MOST = 15, 60
_SETTLED_SECONDS = 0.1
_RATIO_MOST = 2.0


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    """Return a sidecar that serves."""
    with Keeper(tmp_path) as keeper:
        yield keeper.start()


def test_logins_with_curl_are_on_metrics(
    popup: list[str], checker: Checker, bob: Account, keeper: Keeper
) -> None:
    """One that reads its mail, one that is refused: the labels are the words of the record."""
    subprogram, env = checker
    program = tcpserver(*popup, "pop.example.org", *subprogram)
    with serving(program, env | keeper.environment) as server:
        assert 0 == curl(server, f"bob:{bob.password}", "1").returncode
        assert 67 == curl(server, "bob:wrong").returncode
        server.settled_records()
        assert b"" == server.errors.read_bytes()
    numbers = keeper.numbers()
    attempts = counts(numbers, "auth_attempts_total", "result", "method", "protocol")
    assert {("accepted", "User", "POP3"): 1, ("rejected", "User", "POP3"): 1} == attempts
    assert {("0",): 1, (REFUSED,): 1} == counts(numbers, "subprogram_exits_total", "status")


@pytest.mark.parametrize("held", [False, True], ids=["up", "stopped"])
def test_a_session_over_tls_is_served_and_counted(  # noqa: PLR0913 - a chain has that many parts
    popup: list[str],
    checker: Checker,
    bob: Account,
    certificates: Authority,
    keeper: Keeper,
    *,
    held: bool,
) -> None:
    """With its version, also where the sidecar reads of it only later."""
    with serve_tls(popup, checker, certificates, {**OFFERED, **keeper.environment}) as server:
        if held:
            keeper.hold()
        with closing(poplib.POP3(HOST, server.port, timeout=TIMEOUT)) as client:
            client.stls(certificates.trusted())
            client.user(bob.name)
            client.pass_(bob.password)
            assert len(MESSAGES) == client.stat()[0]
            client.quit()
        server.settled_records()
    keeper.go_on()
    numbers = keeper.drained()
    assert {("TLSv1.3",): 1} == counts(numbers, "tls_sessions_total", "version")
    assert {("accepted", "POP3S"): 1} == counts(numbers, "sessions_total", "ended", "protocol")


def test_the_client_never_waits_for_the_sidecar(popup: list[str], keeper: Keeper) -> None:
    """With the sidecar stopped, its end of file comes as soon after its last command as without a mirror."""
    keeper.hold()
    without, mirrored = inf, inf
    for count in range(_SAMPLES_MOST):
        # The least of each is what the machine's other work did not touch; a busy one wants more of them.
        without = min(without, _seconds_to_the_end(popup, {}))
        mirrored = min(mirrored, _seconds_to_the_end(popup, keeper.environment))
        if count >= _SAMPLES and mirrored <= _RATIO_MOST * without:
            return
    pytest.fail(f"{mirrored} s with a mirror, {without} s without")


def _seconds_to_the_end(popup: list[str], env: dict[str, str]) -> float:
    with Popup(popup, REFUSES, env={"PATH": os.environ["PATH"], **env}) as running:
        assert b"+OK\r\n" == running.line.receive_line()
        time.sleep(_SETTLED_SECONDS)  # a person is slower than a hello
        began = time.monotonic()
        running.talk(LOGIN)
        return time.monotonic() - began
