"""Clients of a listener that speak TLS, from the first byte or behind STLS."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

from tests.support.resident import HOST, Listener, read_all, read_line
from tests.support.waiting import TIMEOUT

STARTING = b"+OK starting TLS negotiation\r\n"
_POP3S = re.compile(r"pop3s on [^ ]*:([0-9]+)$", re.MULTILINE)
_CHUNK = 65536
_Result = TypeVar("_Result")


class Client:
    """TLS on a connection; its two directions end one by one, which a socket of the module ssl cannot do.

    tls: what the handshake has come to; bare: the socket
    """

    def __init__(self, bare: socket.socket, context: ssl.SSLContext, name: str | None = "localhost") -> None:
        """Do the handshake; ssl.SSLError, ConnectionError."""
        self.bare = bare
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._taken = b""
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        with _closed_on_error(bare):
            self._until_done(self.tls.do_handshake)
            self._flush()

    def sendall(self, data: bytes) -> None:
        """Say something."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view[:_CHUNK]) :]
            self._flush()

    def recv(self, size: int) -> bytes:
        """Return what has been said, nothing at the end, which must be told by close_notify."""
        if self._taken:
            taken, self._taken = self._taken[:size], self._taken[size:]
            return taken
        try:
            return self._until_done(lambda: self.tls.read(size))
        except ssl.SSLZeroReturnError:
            return b""

    def end(self) -> None:
        """Say that no more will come."""
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while data := self.tls.read(_CHUNK):  # or it would be an error to have got it
                self._taken += data
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()

    def unsent(self) -> bytes:
        """Take what TLS has to send."""
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
    """Return where it speaks POP3S."""
    found = _POP3S.search(listener.errors())
    assert found
    return int(found[1])


def bare(listener: Listener) -> socket.socket:
    """Connect to where it speaks POP3S, and say nothing."""
    return socket.create_connection((HOST, port(listener)), TIMEOUT)


def pop3s(listener: Listener, context: ssl.SSLContext) -> Client:
    """Speak TLS, and read the greeting."""
    client = Client(bare(listener), context)
    with _closed_on_error(client.bare):
        assert read_line(client).startswith(b"+OK")
    return client


def stls(listener: Listener, context: ssl.SSLContext) -> Client:
    """Read the greeting, ask for TLS, and speak it."""
    return Client(asking(listener), context)


def asking(listener: Listener) -> socket.socket:
    """Read the greeting, and ask for TLS."""
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
    """Say all at once, then that no more will come; all that comes back, up to the end."""
    with client:
        client.sendall(said)
        client.end()
        return read_all(client)
