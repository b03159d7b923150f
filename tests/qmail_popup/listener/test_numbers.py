"""What dashboards and alerts read: for the same sessions a listener has the numbers of as many popups."""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.qmail_popup.listener.test_counted import attempts, environment, sessions
from tests.support.popup import Popup, shell
from tests.support.resident import LOGIN, Listener
from tests.support.scraper import Numbers
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import until

_POPUP = (sys.executable, "-m", "qmail_popup")
_ENDS = ("exit 0", "exit 1", "exit 2", "exit 111", "kill -9 $$")
_CHECKERS = tuple(shell(f"cat <&3 >/dev/null; {end}") for end in _ENDS)
_SAID = (LOGIN, b"APOP bob 123\r\n", b"QUIT\r\n", b"NOOP\r\n")
_FAMILIES = ("auth_attempts", "auth_failures", "sessions", "subprogram_exits", "tls_sessions")
_NAMES = {f"qmail_popup_{family}_total" for family in _FAMILIES}

Serve = Callable[[Path, Sequence[str], Callable[[], None]], None]


def _by_popups(directory: Path, checker: Sequence[str], counted: Callable[[], None]) -> None:
    environ = {"PATH": os.environ["PATH"], "POP3AUTH": "apop", **environment(directory)}
    for said in _SAID:
        with Popup(_POPUP, checker, env=environ) as popup:
            popup.talk(said)
            popup.status()
    counted()


def _by_a_listener(directory: Path, checker: Sequence[str], counted: Callable[[], None]) -> None:
    env = {"POP3AUTH": "apop", **environment(directory)}
    own = Path(tempfile.mkdtemp(dir=directory))
    with Listener(own, subprogram=checker, env=env) as listener:
        for said in _SAID:
            listener.talk(said)
        counted()


def _numbers(directory: Path, serve: Serve) -> Numbers:
    """Have all sessions, and return what is counted of them."""
    directory.mkdir()
    with RunningSidecar(directory) as sidecar:
        for number, checker in enumerate(_CHECKERS, 1):
            expected = number * len(_SAID)
            serve(directory, checker, lambda: until(lambda: expected == sum(sessions(sidecar).values())))  # noqa: B023  called in its turn
        assert 2 * len(_CHECKERS) == attempts(sidecar)
        return {sample: value for sample, value in sidecar.numbers().items() if sample[0] in _NAMES}


def test_as_popups_have_them(tmp_path: Path) -> None:
    """By result, method, reason, end and status: so every panel and every alert reads them alike."""
    by_popups = _numbers(tmp_path / "popups", _by_popups)
    assert _NAMES == {name for name, _ in by_popups}
    assert by_popups == _numbers(tmp_path / "listener", _by_a_listener)
