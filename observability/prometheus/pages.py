"""The pages of the sidecar's HTTP server.

Owns the paths that monitoring uses, and knows nothing of sockets: an h11 request in, an answer out.
prometheus_client makes the exposition (text, OpenMetrics, gzip, name[]); observability.status makes the pages
for people.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import h11
from prometheus_client import CollectorRegistry, make_wsgi_app

METRICS, HEALTHY, READY = "/metrics", "/-/healthy", "/-/ready"

_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_METHODS = (b"GET", b"HEAD")

Headers = list[tuple[str, str]]


class Answer(NamedTuple):
    """A response; the server omits the body for HEAD."""

    status: int
    headers: Headers
    body: bytes


class Pages:
    """All paths, over one registry."""

    def __init__(
        self,
        registry: CollectorRegistry,
        is_ready: Callable[[], bool],
        others: Mapping[str, Callable[[], Answer]],
    ) -> None:
        """Serve registry, and others at their paths; all are called in the server's thread.

        is_ready: whether the store takes commits
        """
        self._is_ready, self._others = is_ready, others
        self._metrics = make_wsgi_app(registry)
        self._pages: dict[str, Callable[[h11.Request], Answer]] = {
            METRICS: self._exposition,
            HEALTHY: lambda _: _text(200, "The sidecar is running."),
            READY: self._readiness,
            **dict.fromkeys(others, self._other),
        }

    def answer(self, request: h11.Request) -> Answer:
        """Answer one request."""
        if request.method not in _METHODS:
            refusal = _text(405, "Only GET and HEAD are served here.")
            return refusal._replace(headers=[*refusal.headers, ("Allow", "GET, HEAD")])
        path, _ = _split(request)
        page = self._pages.get(path)
        return page(request) if page else _text(404, f"Not found. The metrics are at {METRICS}.")

    def _exposition(self, request: h11.Request) -> Answer:
        sent: Headers = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": METRICS, "QUERY_STRING": _split(request)[1]}
        for name, value in request.headers:
            environ[f"HTTP_{name.decode().upper().replace('-', '_')}"] = value.decode("latin-1")
        body = b"".join(self._metrics(environ, lambda _status, headers: sent.extend(headers)))
        return Answer(200, sent, body)

    def _readiness(self, _request: h11.Request) -> Answer:
        if self._is_ready():
            return _text(200, "The sidecar is ready.")
        return _text(503, "The store rejects commits. The reason is in the sidecar's log.")

    def _other(self, request: h11.Request) -> Answer:
        return self._others[_split(request)[0]]()


def _split(request: h11.Request) -> tuple[str, str]:
    """Return path and query; the target may be an absolute URL (RFC 9112, section 3.2.2)."""
    target = request.target.decode("latin-1")
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query
    try:
        parts = urlsplit(target)
    except ValueError:
        return "", ""
    return parts.path or "/", parts.query


def _text(status: int, line: str) -> Answer:
    return Answer(status, [_TEXT], f"{line}\n".encode())
