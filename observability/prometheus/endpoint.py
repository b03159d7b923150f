"""/metrics over HTTP, or HTTPS where a certificate is given.

Owns the HTTP server around prometheus_client's exposition, in threads of its own, so that no scrape holds
the intake up. A client that says nothing, or never ends its handshake, holds one of a bounded number of
threads for a bounded time.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from socketserver import TCPServer
from typing import NamedTuple
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from observability.errors import UnusableError

PATIENCE_SECONDS = 10.0  # Prometheus's own scrape timeout
AT_ONCE = 32
PATH = "/metrics"


_Address = tuple[str, int]


class TLS(NamedTuple):
    """Files in PEM; with a client_ca, who scrapes has to show a certificate that it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None

    def context(self) -> ssl.SSLContext:
        """Load them."""
        for file in (self.certificate, self.key, self.client_ca):
            if file:
                file.open("rb").close()  # the errors of ssl do not name it
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if self.client_ca:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Endpoint:
    """A server for one registry, from its start to close()."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, tls: TLS | None = None) -> None:
        """Serve registry at host and port (0: any that is free)."""
        try:
            self._server = _Server(host, port, tls.context() if tls else None)
        except (OSError, ValueError) as error:
            raise UnusableError(f"cannot serve metrics on {host}:{port}: {error}") from error
        self._server.set_app(_only_metrics(make_wsgi_app(registry)))
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self._server.server_port}{PATH}"
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _only_metrics(metrics: WSGIApplication) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH:
            return metrics(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"There is only {PATH}.\n".encode()]

    return app


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE_SECONDS

    def log_message(self, *_: object) -> None:
        """Say nothing: who scrapes is no news."""

    def address_string(self) -> str:
        """Return the client's address, without asking a name server for its name."""
        return str(self.client_address[0])


class _Server(ThreadingWSGIServer):
    request_queue_size = 128

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._context = context
        self._served: dict[socket.socket, float] = {}  # each client in hand, and until when
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind, without asking a name server for our own name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, _Address]:
        """Accept; a handshake is left to the client's thread, which makes it at its first read."""
        request, address = super().get_request()
        if self._context:
            request = self._context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        return request, address

    def process_request(  # type: ignore[override]  # the other kind of request is a datagram server's
        self, request: socket.socket, client_address: _Address
    ) -> None:
        """Serve in a thread of its own, or not at all while too many are served."""
        if len(self._served) >= AT_ONCE:
            self.shutdown_request(request)
            return
        self._served[request] = time.monotonic() + PATIENCE_SECONDS
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be had just now; the server lets go of the request
            self._served.pop(request)
            raise

    def process_request_thread(  # type: ignore[override]  # as above
        self, request: socket.socket, client_address: _Address
    ) -> None:
        """Serve one client to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._served.pop(request)

    def service_actions(self) -> None:
        """Cut off who is not done in time, however busy it looks; called twice a second."""
        for request, deadline in list(self._served.items()):
            if time.monotonic() >= deadline:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(request, socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that went away is no fault of ours."""
