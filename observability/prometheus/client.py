"""One client of the sidecar's HTTP server, from connect to close.

Owns what is read and sent, and the timeouts: the request must arrive within REQUEST_TIMEOUT, the answer be
taken within ANSWER_TIMEOUT. Each connection serves one request. Nothing here blocks. h11 parses HTTP.
"""

import select
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

import h11

from observability.errors import describe
from observability.prometheus.pages import Answer

REQUEST_TIMEOUT = 2.0  # seconds from connecting to the end of the request's head
ANSWER_TIMEOUT = 10.0  # Prometheus's own scrape timeout

_PIECE = 16384
_STEPS = 16  # of one client, before it is the others' turn

Pages = Callable[[h11.Request], Answer]


class Client:
    """One connection: reads a request, answers it, then waits for the client to close."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.fd = connection, connection.fileno()
        self.deadline = time.monotonic() + REQUEST_TIMEOUT
        self.unsent = b""
        self._protocol = h11.Connection(h11.SERVER)
        self._step: Callable[[Pages], bool] = self._read

    def go_on(self, pages: Pages) -> int:
        """Do what is possible without waiting; return the epoll(7) events to wait for, 0 at the end."""
        try:
            for _ in range(_STEPS):
                if self._step(pages):
                    return 0
        except ssl.SSLWantReadError:
            return select.EPOLLIN
        except ssl.SSLWantWriteError:
            return select.EPOLLOUT
        except BlockingIOError:
            pass
        return select.EPOLLOUT if self.unsent else select.EPOLLIN

    def _read(self, pages: Pages) -> bool:
        data = self.connection.recv(_PIECE)
        self._protocol.receive_data(data)
        try:
            event = self._protocol.next_event()
        except h11.RemoteProtocolError as error:
            self._begin_answer(_line(error.error_status_hint, "Not an HTTP request."))
        else:
            if isinstance(event, h11.Request):
                self._begin_answer(_answer(pages, event), has_body=event.method != b"HEAD")
        return not (data or self.unsent)

    def _begin_answer(self, answer: Answer, *, has_body: bool = True) -> None:
        headers = [
            *answer.headers,
            ("Date", formatdate(usegmt=True)),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
        ]
        head = h11.Response(
            status_code=answer.status, headers=headers, reason=HTTPStatus(answer.status).phrase
        )
        body = h11.Data(data=answer.body if has_body else b"")
        self.unsent = b"".join(self._protocol.send(part) or b"" for part in (head, body, h11.EndOfMessage()))
        self.deadline = time.monotonic() + ANSWER_TIMEOUT
        self._step = self._write

    def _write(self, _pages: Pages) -> bool:
        self.unsent = self.unsent[self.connection.send(self.unsent) :]
        if not self.unsent:
            # Closed at once, the answer could be lost if the client has sent more than its request.
            self.connection.shutdown(socket.SHUT_WR)
            self.deadline = time.monotonic() + REQUEST_TIMEOUT
            self._step = self._linger
        return False

    def _linger(self, _pages: Pages) -> bool:
        return not self.connection.recv(_PIECE)


def _answer(pages: Pages, request: h11.Request) -> Answer:
    try:
        return pages(request)
    except Exception as error:  # noqa: BLE001  the boundary: other pages, and the next request, may succeed
        return _line(HTTPStatus.INTERNAL_SERVER_ERROR, f"Internal error: {describe(error)}")


def _line(status: int, text: str) -> Answer:
    return Answer(status, [("Content-Type", "text/plain; charset=utf-8")], f"{text}\n".encode())
