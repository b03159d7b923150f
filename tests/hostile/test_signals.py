"""Signals at any moment: they end the popup without a word, or wait until its session is over."""

import os
import re
import time
from contextlib import suppress
from signal import SIGHUP, SIGINT, SIGTERM, Signals

import pytest

from tests.conformance.phrases import OK, STARTING, over_tls
from tests.conformance.session import play
from tests.conformance.vector import Vector
from tests.conformance.verdict import complaints
from tests.support.popup import Popup, shell

_REPLIES = re.compile(rb"(\+OK.*\r\n|-ERR.*\r\n)*\Z")
_MOMENTS = 20
_SPREAD = 0.12
"""Seconds over which the moments are spread: the start of an interpreter, and a session."""

_SHORT = shell("exec sleep 0.05")


def _moments() -> list[float]:
    return [_SPREAD * step / _MOMENTS for step in range(_MOMENTS)]


def _interrupt(running: Popup, number: Signals, moment: float) -> None:
    """Signal it at `moment`: it ends, of the signal or of itself, and has said nothing but replies.

    A login once begun has its record; without one there is none.
    """
    with suppress(BrokenPipeError):
        running.line.send(b"NOOP\r\nUSER bob\r\nPASS x\r\n")
    time.sleep(moment)
    running.process.send_signal(number)
    running.line.end()
    said = running.line.receive_all()
    status = running.status()
    assert status in (0, -number)
    assert ([running.record("Accept")] if status == 0 else [], b"") == (running.records(), running.errors())
    assert _REPLIES.match(said)


def test_sigterm_at_any_moment_ends_it_without_a_word(popup: list[str]) -> None:
    """From before the interpreter is up to the end of the subprogram."""
    for moment in _moments():
        with Popup(popup, _SHORT) as running:
            _interrupt(running, SIGTERM, moment)


def test_sigint_at_any_moment_of_a_session_ends_it_without_a_word(popup: list[str]) -> None:
    """From the greeting on: until our first line runs, the interpreter has a handler of its own for it."""
    for moment in _moments():
        with Popup(popup, _SHORT) as running:
            assert b"+OK\r\n" == running.line.receive_line()
            _interrupt(running, SIGINT, moment)


def test_sigterm_right_behind_the_start_command_is_always_a_failed_handshake(popup: list[str]) -> None:
    """However the moment falls, before a poll or in it: status 1, not a death, and no wait forever."""
    steps = over_tls(["signal", "SIGTERM"], start="tls-silent")
    vector = Vector(name="term", env={"UCSPITLS": ""}, tls=True, steps=steps, out=OK + STARTING, exit=1)
    for _ in range(_MOMENTS):
        assert [] == complaints(vector, play(vector, popup))


def test_sigterm_at_any_moment_of_a_session_over_tls_loses_no_login(popup: list[str]) -> None:
    """From the greeting on, where the server speaks TLS: the whole login was sent before it."""
    env = {"PATH": os.environ["PATH"], "SSL_PROTOCOL": "TLSv1.3"}
    for moment in _moments():
        with Popup(popup, _SHORT, env=env) as running:
            assert b"+OK\r\n" == running.line.receive_line()
            running.line.send(b"NOOP\r\nUSER bob\r\nPASS x\r\n")
            time.sleep(moment)
            running.process.send_signal(SIGTERM)
            assert b"+OK \r\n+OK \r\n" == running.line.receive_all()
            record = running.record("Accept", protocol="POP3S")
            assert (0, [record], b"") == (running.status(), running.records(), running.errors())


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_a_signal_while_the_subprogram_runs_waits_for_its_end(popup: list[str], number: Signals) -> None:
    """The subprogram is the client's session, and goes on; then the record comes."""
    with Popup(popup, shell("echo here; cat")) as running:
        running.line.send(b"USER bob\r\nPASS x\r\n")
        assert [b"+OK\r\n", b"+OK \r\n", b"here\n"] == [running.line.receive_line() for _ in range(3)]
        running.process.send_signal(number)
        running.line.send(b"still here\n")
        running.line.end()
        assert b"still here\n" == running.line.receive_all()
        assert (0, [running.record("Accept")]) == (running.status(), running.records())
        assert b"" == running.errors()
