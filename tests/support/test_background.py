"""Background threads of tests."""

from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Barrier, Event, active_count, get_ident
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.support import background
from tests.support.background import Background, Repeated, served
from tests.support.waiting import TIMEOUT, until


def test_each_work_runs_beside_the_test_and_ends_with_the_context() -> None:
    """All run concurrently, and none is left."""
    before = active_count()
    met = Barrier(3)
    with Background(met.wait, met.wait):
        met.wait(TIMEOUT)
    assert before == active_count()


def test_a_work_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung thread fails the test, and the run continues."""
    monkeypatch.setattr(background, "TIMEOUT", 0)
    before, deaf = active_count(), Event()
    with pytest.raises(AssertionError, match="did not end"), Background(deaf.wait):
        pass
    deaf.set()
    until(lambda: before == active_count())


def test_a_work_is_done_again_and_again() -> None:
    """Each thread repeats it until the end of the context."""
    before, turns = active_count(), list[int]()
    with Repeated(lambda: turns.append(get_ident()), pause=0.001, threads=2):
        until(lambda: [True, True] == [count >= 10 for count in Counter(turns[:]).values()])
    assert before == active_count()


def test_a_server_is_closed_at_the_end() -> None:
    """It answers within the context, and its socket is closed afterwards."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    with served(server), pytest.raises(HTTPError):
        urlopen(f"http://127.0.0.1:{server.server_port}")
    assert -1 == server.fileno()
