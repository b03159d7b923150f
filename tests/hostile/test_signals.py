"""Signals at any moment: the popup dies of them as any program does, and leaves no word anywhere."""

import re
import time
from contextlib import suppress
from signal import SIGINT, SIGTERM, Signals

import pytest

from tests.conformance.phrases import OK, STARTING, over_tls
from tests.conformance.session import play
from tests.conformance.vector import Vector
from tests.conformance.verdict import complaints
from tests.support.popup import Popup, shell

_REPLIES = re.compile(rb"(\+OK.*\r\n|-ERR.*\r\n)*\Z")
_MOMENTS = 40
_SPREAD = 0.12
"""Seconds over which the moments are spread: the start of an interpreter, and a session."""

_SHORT = shell("exec sleep 0.05")


def _moments() -> list[float]:
    return [_SPREAD * step / _MOMENTS for step in range(_MOMENTS)]


def _interrupt(running: Popup, number: Signals, moment: float) -> None:
    """Signal it at `moment`: it ends, of the signal or by itself, and has said nothing but replies."""
    with suppress(BrokenPipeError):
        running.line.send(b"NOOP\r\nUSER bob\r\nPASS x\r\n")
    time.sleep(moment)
    running.process.send_signal(number)
    running.line.end()
    said = running.line.receive_all()
    assert running.status() in (0, -number)
    assert b"" == running.errors()
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
    """However the moment falls, before a poll or in it: status 1, not a death, and no wait for ever."""
    steps = over_tls(["signal", "SIGTERM"], start="tls-silent")
    vector = Vector(name="term", env={"UCSPITLS": ""}, tls=True, steps=steps, out=OK + STARTING, exit=1)
    for _ in range(_MOMENTS):
        assert [] == complaints(vector, play(vector, popup))


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_a_signal_while_the_subprogram_runs_ends_the_popup_alone(popup: list[str], number: Signals) -> None:
    """The subprogram is the client's session, and goes on."""
    with Popup(popup, shell("echo here; cat")) as running:
        running.line.send(b"USER bob\r\nPASS x\r\n")
        assert [b"+OK\r\n", b"+OK \r\n", b"here\n"] == [running.line.receive_line() for _ in range(3)]
        running.process.send_signal(number)
        assert -number == running.status()
        running.line.send(b"still here\n")
        running.line.end()
        assert b"still here\n" == running.line.receive_all()
        assert ([], b"") == (running.records(), running.errors())
