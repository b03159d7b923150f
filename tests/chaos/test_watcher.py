"""The storms' watcher: it must detect what it watches for."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.background import served
from tests.support.scraper import Watcher
from tests.support.waiting import until

_ATTEMPTS = "# TYPE qmail_popup_auth_attempts counter\nqmail_popup_auth_attempts_total %d\n"


@contextmanager
def _showing(numbers: list[int]) -> Iterator[str]:
    """Serve the numbers in order, then the last one repeatedly."""
    shown = iter(numbers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((_ATTEMPTS % next(shown, numbers[-1])).encode())

        def log_message(self, *_: object) -> None:
            """Do not log."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    with served(server):
        yield f"http://127.0.0.1:{server.server_port}/metrics"


@pytest.mark.parametrize(
    ("numbers", "records", "complaints"),
    [([1, 2, 2, 5], 5, 0), ([1, 5, 4], 5, 1), ([1, 5, 4, 5, 0], 5, 2), ([3], 2, 1)],
    ids=["only up", "back once", "back twice", "more than there are"],
)
def test_it_sees_what_should_not_be(numbers: list[int], records: int, complaints: int) -> None:
    """It detects a counter that goes back, and attempts without a record."""
    with _showing(numbers) as url, Watcher(lambda: url, lambda: records, pause=0.01) as watcher:
        until(lambda: watcher.looks > len(numbers))
    assert complaints == len(set(watcher.complaints))
