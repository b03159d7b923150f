"""What stands at each address of the sidecar's HTTP server.

Owns the paths and what they show; knows nothing of sockets. A request of h11 in, an answer out. The
exposition (text, OpenMetrics, gzip, name[]) is prometheus_client's own.
"""

import html
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import h11
from prometheus_client import CollectorRegistry, make_wsgi_app

METRICS, HEALTHY, READY = "/metrics", "/-/healthy", "/-/ready"

_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_HTML = ("Content-Type", "text/html; charset=utf-8")
_METHODS = (b"GET", b"HEAD")

Headers = list[tuple[str, str]]


class Answer(NamedTuple):
    """What is sent back; to HEAD without the body."""

    status: int
    headers: Headers
    body: bytes


class Pages:
    """All addresses, over one registry."""

    def __init__(self, registry: CollectorRegistry, is_ready: Callable[[], bool], version: str) -> None:
        """Show registry. is_ready: whether the store takes commits; asked in the server's thread."""
        self._registry, self._is_ready, self._version = registry, is_ready, version
        self._metrics = make_wsgi_app(registry)
        self._pages: dict[str, Callable[[h11.Request], Answer]] = {
            METRICS: self._exposition,
            HEALTHY: lambda _: _text(200, "The sidecar is running."),
            READY: self._readiness,
            "/": self._home,
        }

    def answer(self, request: h11.Request) -> Answer:
        """Answer one request."""
        if request.method not in _METHODS:
            refusal = _text(405, "Only GET and HEAD are served here.")
            return refusal._replace(headers=[*refusal.headers, ("Allow", "GET, HEAD")])
        path, _ = _split(request)
        page = self._pages.get(path)
        return page(request) if page else _text(404, f"Nothing is here. The metrics are at {METRICS}.")

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
        return _text(503, "The store takes no commits. The reason is in the sidecar's log.")

    def _home(self, _request: h11.Request) -> Answer:
        links = "".join(f'<li><a href="{path}">{path}</a></li>' for path in (METRICS, HEALTHY, READY))
        rows = "".join(self._rows())
        page = (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            "<title>qmail-popup-sidecar</title></head><body>"
            f"<h1>qmail-popup-sidecar {html.escape(self._version)}</h1><ul>{links}</ul>"
            f"<p>What has been counted so far; series at 0 are left out.</p>"
            f"<table>{rows}</table></body></html>\n"
        )
        return Answer(200, [_HTML], page.encode())

    def _rows(self) -> Iterator[str]:
        """Yield the rows of all samples but histograms' buckets that are not 0."""
        for family in self._registry.collect():
            for sample in family.samples:
                if sample.value and not sample.name.endswith("_bucket"):
                    labels = ", ".join(f"{name}={value}" for name, value in sample.labels.items())
                    cells = (sample.name, labels, f"{sample.value:.15g}")
                    yield f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def _split(request: h11.Request) -> tuple[str, str]:
    """Return path and query; the target may be a whole URL (RFC 9112, section 3.2.2)."""
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
