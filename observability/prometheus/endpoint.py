"""The sidecar's HTTP server, or HTTPS if a certificate is given.

Owns the connections, in one thread that waits only for its own descriptors: no scrape delays the intake, and
no client delays another. If there are too many clients, the one that has been silent longest and is not being
answered is disconnected. client.py reads and answers on one connection; pages.py knows the answers.
"""

import os
import select
import socket
import ssl
import threading
import time
from pathlib import Path

from observability.errors import UnusableError, describe
from observability.options.kinds import TLS
from observability.prometheus.client import Client, Pages
from observability.prometheus.pages import METRICS

MAX_CLIENTS = 256

_BACKLOG = 1024
_SWEEP_SECONDS = 0.25
_PAUSE_SECONDS = 0.02


class Endpoint:
    """A server of pages, from its start to close()."""

    def __init__(
        self, host: str, port: int, pages: Pages, tls: TLS | None = None, max_clients: int = MAX_CLIENTS
    ) -> None:
        """Serve pages at host and port (0: any free port)."""
        self._pages, self._tls, self._max_clients = pages, tls, max_clients
        self._context = self._loaded()
        try:
            self._listener = _listener(host, port)
        except OSError as error:
            where = f"{host}:{port}"
            raise UnusableError(f"cannot use --listen {where}: {describe(error)}") from error
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self._listener.getsockname()[1]}{METRICS}"
        self._clients: dict[int, Client] = {}  # by descriptor; the longest silent one comes first
        self._poll = select.epoll()
        self._stop = os.eventfd(0)
        for fd in (self._listener.fileno(), self._stop):
            self._poll.register(fd, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def reload(self) -> None:
        """Reload the certificates; on UnusableError the previous ones stay in use."""
        self._context = self._loaded()

    def close(self) -> None:
        """Stop serving."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        for client in self._clients.values():
            client.connection.close()
        self._listener.close()
        self._poll.close()
        os.close(self._stop)

    def _loaded(self) -> ssl.SSLContext | None:
        return server_context(self._tls) if self._tls else None

    def _run(self) -> None:
        next_sweep = time.monotonic()
        while True:
            ready = dict(self._poll.poll(_SWEEP_SECONDS))
            if self._stop in ready:
                return
            for fd in ready.keys() & self._clients.keys():
                self._serve(self._clients[fd])
            if self._listener.fileno() in ready:
                self._accept()
            if time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + _SWEEP_SECONDS
                self._sweep()

    def _accept(self) -> None:
        """Accept one connection; other clients that are ready are served before the next one."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor left, or no memory
            self._make_room()
            time.sleep(_PAUSE_SECONDS)
            return
        if len(self._clients) < self._max_clients or self._make_room():
            self._welcome(connection)
        else:
            connection.close()

    def _make_room(self) -> bool:
        """Disconnect the longest silent client; False if all are being answered."""
        silent = next((client for client in self._clients.values() if not client.unsent), None)
        if silent:
            self._drop(silent)
        return silent is not None

    def _welcome(self, connection: socket.socket) -> None:
        try:
            client = Client(self._secured(connection))
        except OSError:  # disconnected
            connection.close()
            return
        self._clients[client.fd] = client
        self._poll.register(client.fd, select.EPOLLIN)
        self._serve(client)  # most clients have sent their request by now

    def _secured(self, connection: socket.socket) -> socket.socket:
        connection.settimeout(0)
        if not self._context:
            return connection
        # The first reads do the handshake.
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def _serve(self, client: Client) -> None:
        """Serve one client as far as possible without waiting."""
        try:
            wanted = client.go_on(self._pages)
        except Exception:  # noqa: BLE001  the boundary: disconnected, or no TLS client; the others are served on
            wanted = 0
        if wanted:
            self._poll.modify(client.fd, wanted)
            self._clients[client.fd] = self._clients.pop(client.fd)
        else:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        del self._clients[client.fd]
        self._poll.unregister(client.fd)
        client.connection.close()

    def _sweep(self) -> None:
        now = time.monotonic()
        for client in list(self._clients.values()):
            if now >= client.deadline:
                self._drop(client)


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.settimeout(0)
    return listener


def server_context(tls: TLS) -> ssl.SSLContext:
    """Load the files; with a client_ca, scrapers must present a certificate signed by it."""
    named = (("--tls-cert", tls.certificate), ("--tls-key", tls.key), ("--tls-client-ca", tls.client_ca))
    for option, file in named:
        _check(option, file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise UnusableError(f"cannot use --tls-cert {tls.certificate}: {describe(error)}") from error
    return context


def _check(option: str, file: Path | None) -> None:
    """Check that the file can be read: ssl's errors do not name it."""
    try:
        if file:
            file.open("rb").close()
    except OSError as error:
        raise UnusableError(f"cannot use {option} {file}: {error.strerror}") from error
