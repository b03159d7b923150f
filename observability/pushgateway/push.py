"""Pushing one host's group to a Pushgateway, one push at a time, without blocking.

Owns the order of requests. A gateway that was stopped and resumes serves waiting requests in any order, so an
older push could overwrite a newer one. Prometheus takes a counter that goes back for a reset, and counts its
whole value again: that looks like an attack. Hence two rules:

- No push starts before the previous one is answered or its connection is dead. A gateway that is only stopped
  holds its one push for as long as it takes.
- After a push without an answer (also at the start: a predecessor may have been killed), first ask whether
  the gateway is ready. Once the gateway itself answers, and not a proxy for it, it has begun to serve
  earlier requests. If an older push is served even later, the next push corrects it.

Everything goes by POST, which replaces only the metrics it contains: a torn PUT would leave nothing.
"""

import contextlib
import select
import ssl
from collections.abc import Callable
from typing import NamedTuple

from observability.errors import UnusableError, describe
from observability.pushgateway.group import Group
from observability.pushgateway.http import Peer, Work, exchange

_READY = "/-/ready"
_GOOD = range(200, 300)
_UNSURE = (502, 504)  # a proxy's answer for a silent gateway, which may still serve the request
_REMOVE_TIMEOUT = 30.0


class Result(NamedTuple):
    """The result of a push. error: why it failed, "" if it did not."""

    error: str


class Pushing:
    """The pushes to one group, including the current one."""

    def __init__(self, group: Group, body: Callable[[], bytes], clock: Callable[[], float]) -> None:
        """Prepare. body: makes the metrics to push; clock: monotonic seconds."""
        self._group, self._body, self._clock = group, body, clock
        gateway = group.gateway
        tls = ssl.create_default_context() if gateway.is_secure else None
        self._peer = Peer(gateway.host, gateway.port, tls)
        self._is_sure = False  # that no earlier push to this group is still waiting to be served
        self._work: Work[Result] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no push is under way."""
        return self._work is None

    def begin(self, method: str = "POST") -> None:
        """Start a push, unless one is under way; DELETE removes the group instead."""
        if not self._work:
            self._work = self._exchanges(method)

    def go_on(self, timeout: float) -> Result | None:
        """Continue for at most `timeout` seconds; return the result, once there is one."""
        deadline = self._clock() + timeout
        while self._work:
            try:
                fd, events = next(self._work)
            except StopIteration as end:
                self._work = None
                result: Result = end.value
                return result
            if not _is_ready(fd, events, deadline - self._clock()):
                break
        return None

    def close(self) -> None:
        """Abort the push under way."""
        if self._work:
            self._work.close()
            self._work = None

    def _exchanges(self, method: str) -> Work[Result]:
        url = self._group.gateway.url
        try:
            if not self._is_sure:
                status = yield from self._ask("GET", _READY, b"")
                if status in _UNSURE:
                    return Result(f"{url} answered GET {_READY} with {status}")
            self._is_sure = False
            status = yield from self._ask(method, self._group.path, self._body() if method == "POST" else b"")
            self._is_sure = status not in _UNSURE
        except OSError as error:
            return Result(f"cannot reach {url}: {describe(error)}")
        return Result("" if status in _GOOD else f"{url} answered {method} with {status}")

    def _ask(self, method: str, path: str, body: bytes) -> Work[int]:
        return exchange(self._peer, self._group.request(method, path, len(body)), body, self._clock)


def remove(group: Group, clock: Callable[[], float]) -> None:
    """Delete a group from its gateway; UnusableError if that fails."""
    with contextlib.closing(Pushing(group, bytes, clock)) as pushing:
        pushing.begin("DELETE")
        result = pushing.go_on(_REMOVE_TIMEOUT) or Result(f"{group.gateway.url} does not answer")
    if result.error:
        raise UnusableError(result.error)


def _is_ready(fd: int, events: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(max(0.0, timeout) * 1000))
