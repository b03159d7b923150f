"""One request and its answer, on real connections."""

import itertools
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import h11
import pytest

from observability.pushgateway.http import CONNECT_TIMEOUT, MAX_ANSWER, Work, exchange
from observability.pushgateway.http import Peer as Address
from tests.support.peer import HANG_UP, OK, Peer

BODY = b"body"
REQUEST = b"POST / HTTP/1.1\r\nHost: mx\r\nContent-Length: 4\r\n\r\nbody"


def _to(peer: Peer, body: bytes = BODY) -> Work[int]:
    return _exchange("localhost", int(peer.url.rpartition(":")[2]), body)


def _exchange(
    host: str, port: int, body: bytes = BODY, clock: Callable[[], float] = time.monotonic
) -> Work[int]:
    headers = [("Host", "mx"), ("Content-Length", str(len(body)))]
    request = h11.Request(method="POST", target="/", headers=headers)
    return exchange(Address(host, port), request, body, clock)


def _driven(work: Work[int]) -> int:
    """Drive an exchange to its end."""
    while True:
        try:
            fd, events = next(work)
        except StopIteration as end:
            return int(end.value)
        poll = select.poll()
        poll.register(fd, events)
        poll.poll(1000)


@pytest.mark.parametrize("status", [200, 202, 301, 400, 413, 503])
def test_the_status_of_the_answer_is_returned(status: int) -> None:
    """Whatever the gateway has to say, it is for others to judge."""
    with Peer() as peer:
        peer.answer(b"HTTP/1.1 %d Said\r\nContent-Length: 3\r\n\r\nwhy" % status)
        assert status == _driven(_to(peer))
        assert REQUEST == peer.request()


def test_a_request_larger_than_all_buffers_arrives_whole() -> None:
    """What a connection does not take at once follows when there is room."""
    body = bytes(range(256)) * 16384
    with Peer() as peer:
        peer.answer(OK)
        assert 200 == _driven(_to(peer, body))
        assert body == peer.request().partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n"])
def test_interim_answers_are_passed_over(interim: bytes) -> None:
    """What counts is the final one, which comes behind any number of them."""
    with Peer() as peer:
        peer.answer(interim * 3 + b"HTTP/1.1 202 Accepted\r\n\r\nbody\r\n\r\n")
        assert 202 == _driven(_to(peer))


def test_the_next_address_has_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name's first address may lead nowhere: after ten seconds, by the clock, the next one is tried."""
    with _black_hole() as hole, Peer() as peer:
        there = ("127.0.0.1", int(peer.url.rpartition(":")[2]))
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", one) for one in (hole.getsockname(), there)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_peer, **_how: found)
        peer.answer(OK)
        assert 200 == _driven(_exchange("mx", 9091, clock=itertools.count(0.0, 6.0).__next__))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (HANG_UP, "closed before the response was complete"),
        (b"HTTP/1.1 200 OK\r\nHalf-an", "closed before the response was complete"),
        (b"+OK <1.2@pop>\r\n\r\n", "the response is not HTTP"),
        (b"HTTP/1.1 \r\n\r\n", "the response is not HTTP"),
    ],
)
def test_what_is_no_answer_is_a_dead_connection(answer: bytes, error: str) -> None:
    """Only a whole head says that the request was served."""
    with Peer() as peer:
        peer.answer(answer)
        with pytest.raises(ConnectionError, match=error):
            _driven(_to(peer))


def test_an_answer_of_interim_answers_alone_has_an_end() -> None:
    """Whoever answers may go on forever with them; what is read is bounded."""
    interim = b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"
    with Peer() as peer:
        peer.answer(interim * (2 * MAX_ANSWER // len(interim)))
        with pytest.raises(ConnectionError, match="header is too long"):
            _driven(_to(peer))


def test_head_and_body_leave_in_one_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is stopped in between would have half a push."""
    sent: list[bytes] = []
    real = socket.socket.send

    def send(self: socket.socket, data: bytes) -> int:
        sent.append(data)
        return real(self, data)

    with Peer() as peer:
        monkeypatch.setattr(socket.socket, "send", send)
        peer.answer(OK)
        assert 200 == _driven(_to(peer))
        assert [REQUEST] == sent


def test_it_never_waits_by_itself() -> None:
    """Asked to go on while there is nothing to be had, it says again what it waits for."""
    with Peer() as peer:
        work = _to(peer)
        while not peer.requests():
            next(work)
        assert {select.POLLIN} == {events for _, events in itertools.islice(work, 50)}
        work.close()


def test_a_host_without_anybody_is_an_error() -> None:
    """Nobody listens there: that is known at once."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        _driven(_exchange("127.0.0.1", port))


def test_a_connection_that_does_not_come_about_is_given_up() -> None:
    """Where nobody answers the first packet, there is an end; nothing has been sent by then."""
    times = itertools.chain([0.0, CONNECT_TIMEOUT - 1], itertools.repeat(CONNECT_TIMEOUT + 1))
    with _black_hole() as hole:
        work = _exchange("127.0.0.1", hole.getsockname()[1], clock=lambda: next(times))
        assert select.POLLOUT == next(work)[1]
        with pytest.raises(TimeoutError):
            next(work)


@contextmanager
def _black_hole() -> Iterator[socket.socket]:
    """Give a listener whose queue is full, so that the kernel leaves connections without an answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as hole, ExitStack() as callers:
        for _ in range(4):
            caller = callers.enter_context(socket.socket())
            caller.settimeout(0)
            caller.connect_ex(hole.getsockname())
        yield hole
