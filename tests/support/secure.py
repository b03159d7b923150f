"""TLS clients of a listener, by POP3S or STLS."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

from tests.support.resident import HOST, Listener, read_all, read_line
from tests.support.waiting import TIMEOUT

STARTING = b"+OK starting TLS negotiation\r\n"
_CHUNK = 65536
_Result = TypeVar("_Result")


class Client:
    """TLS on a connection whose directions can be closed separately, which ssl.SSLSocket cannot do.

    tls: the SSL object; bare: the socket
    """

    def __init__(self, bare: socket.socket, context: ssl.SSLContext, name: str | None = "localhost") -> None:
        """Perform the handshake; ssl.SSLError, ConnectionError."""
        self.bare = bare
        # Otherwise close_notify, a second small packet, waits 40 ms for the acknowledgement of the first.
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._taken = b""
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        with _closed_on_error(bare):
            self._until_done(self.tls.do_handshake)
            self._flush()

    def sendall(self, data: bytes) -> None:
        """Send data."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view[:_CHUNK]) :]
            self._flush()

    def recv(self, size: int) -> bytes:
        """Receive data; empty after close_notify, without which the end is an error."""
        if self._taken:
            taken, self._taken = self._taken[:size], self._taken[size:]
            return taken
        try:
            return self._until_done(lambda: self.tls.read(size))
        except ssl.SSLZeroReturnError:
            return b""

    def end(self) -> None:
        """Send close_notify."""
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while data := self.tls.read(_CHUNK):  # unread data would make unwrap() fail
                self._taken += data
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()

    def unsent(self) -> bytes:
        """Return the bytes that TLS has to send."""
        return self._outgoing.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.bare.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.bare.sendall(self._outgoing.read())

    def _until_done(self, attempt: Callable[[], _Result]) -> _Result:
        while True:
            try:
                return attempt()
            except ssl.SSLWantReadError:
                self._flush()
            data = self.bare.recv(_CHUNK)
            if not data:
                raise ConnectionResetError("the connection has ended without a close_notify")
            self._incoming.write(data)


Connect = Callable[[Listener, ssl.SSLContext], Client]


def port(listener: Listener) -> int:
    """Return its POP3S port."""
    return int(listener.announced(r"pop3s on [^ ]*:([0-9]+)$"))


def bare(listener: Listener) -> socket.socket:
    """Connect to its POP3S port, and send nothing."""
    return socket.create_connection((HOST, port(listener)), TIMEOUT)


def pop3s(listener: Listener, context: ssl.SSLContext) -> Client:
    """Connect by POP3S and read the greeting."""
    client = Client(bare(listener), context)
    with _closed_on_error(client.bare):
        assert read_line(client).startswith(b"+OK")
    return client


def stls(listener: Listener, context: ssl.SSLContext) -> Client:
    """Connect, read the greeting, send STLS and start TLS."""
    return Client(asking(listener), context)


def asking(listener: Listener) -> socket.socket:
    """Connect, read the greeting and send STLS."""
    peer = listener.connect()
    with _closed_on_error(peer):
        assert read_line(peer).startswith(b"+OK")
        peer.sendall(b"STLS\r\n")
        assert STARTING == read_line(peer)
    return peer


@contextmanager
def _closed_on_error(peer: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        peer.close()
        raise


def talk(client: Client, said: bytes) -> bytes:
    """Send everything at once, then close_notify; return everything received up to the end."""
    with client:
        client.sendall(said)
        client.end()
        return read_all(client)
