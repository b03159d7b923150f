"""TLS of a client in memory: no socket, and no listener around the server's half."""

import ssl
from contextlib import suppress

from qmail_popup.listener.tls.engine import Secure


class MemoryClient:
    """A client that keeps what it would send."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Start with nothing said."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def hello(self) -> bytes:
        """Return the next flight of the handshake."""
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    def take(self, records: bytes) -> None:
        """Receive records."""
        self._incoming.write(records)

    def greet(self, secure: Secure, plain: memoryview) -> None:
        """Do a handshake, of two flights."""
        for _ in range(2):
            secure.receive(self.hello(), plain)
            self.take(secure.pending())
        assert secure.is_on

    def say(self, data: bytes) -> bytes:
        """Return a record."""
        self._tls.write(data)
        return self._outgoing.read()

    def farewell(self, said: bytes) -> bytes:
        """Return records that say this, and that there is no more."""
        self._tls.write(said)
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._outgoing.read()

    def read(self, records: bytes) -> bytes:
        """Return what they say."""
        self._incoming.write(records)
        said = b""
        with suppress(ssl.SSLWantReadError):
            while True:
                said += self._tls.read(65536)
        return said
