"""TLS with one client, as a filter: what has come from the socket in, what is to be sent out; no socket.

OpenSSL reads and writes memory. One pair of buffers serves all connections of a process, in turn: each call
fills it, has OpenSSL use it, and leaves it empty, whatever happens. A pair for each connection would hold on
to the room that its handshake took, 8 kB of 22. Only the beginning of a record stays in OpenSSL.
"""

import ssl

from qmail_popup.listener.tls.suites import suite_of, version_of

_MAX_HANDSHAKE = 1 << 15  # bytes of a client's, of which it needs 2 kB: OpenSSL would keep 128 KiB of each


class Server:
    """What a process opens TLS with."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """context: the one that each connection begins with."""
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    def open(self) -> "Secure":
        """Begin with a client."""
        wrapped = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        return Secure(wrapped, self._incoming, self._outgoing)


class Secure:
    """One client's TLS.

    is_on: whether the handshake is done
    has_ended: whether the client has said that it will send no more
    has_failed: whether the handshake has failed or is too long, or what came was no record of this connection
    """

    __slots__ = ("_begun", "_incoming", "_outgoing", "_pending", "_tls", "has_ended", "has_failed", "is_on")

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        """Begin with a handshake."""
        self._tls, self._incoming, self._outgoing = tls, incoming, outgoing
        self._pending, self._begun = b"", 0
        self.is_on = self.has_ended = self.has_failed = False

    def receive(self, data: bytes, plain: memoryview) -> int:
        """Take what has come; how many bytes it brought, which are in `plain`.

        plain: with room for `data` and another 16 KiB, because a record may have begun before
        """
        size = 0
        try:
            self._incoming.write(data)
            if not self.is_on:
                self._tls.do_handshake()
                self.is_on = True
            while got := self._tls.read(len(plain) - size, plain[size:]):
                size += int(got)
            self.has_ended = True
        except ssl.SSLWantReadError:
            self.has_failed = self._is_too_long(len(data))
        except ssl.SSLZeroReturnError:  # the same, where we have said so, too
            self.has_ended = True
        except ssl.SSLError:
            self.has_failed = True
        finally:
            self._settle()
        return size

    def send(self, data: bytes | memoryview) -> bytes:
        """Return what the client is to be sent for it to read `data`."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError:
            self.has_failed = True
        finally:
            self._settle()
        return self.pending()

    def close(self) -> bytes:
        """Return what tells the client that no more will come: it may still send (RFC 8446 section 6.1)."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # it waits for the client's, or TLS has failed
            pass
        finally:
            self._settle()
        return self.pending()

    def pending(self) -> bytes:
        """Return what the client is to be sent by now: of a handshake, an alert, or a new key."""
        data, self._pending = self._pending, b""
        return data

    @property
    def names(self) -> tuple[int, int]:
        """Version and cipher suite, by their places."""
        cipher = self._tls.cipher()
        return version_of(self._tls.version()), suite_of(cipher[0] if cipher else "")

    def _is_too_long(self, size: int) -> bool:
        """Whether another `size` bytes are too many of a handshake that is not done."""
        self._begun += 0 if self.is_on else size
        return self._begun > _MAX_HANDSHAKE

    def _settle(self) -> None:
        """Leave nothing of this connection to the next."""
        self._pending += self._outgoing.read()
        self._incoming.read()
