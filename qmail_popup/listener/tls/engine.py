"""TLS with one client, as a filter: received bytes in, bytes to send out; no socket.

OpenSSL reads and writes memory buffers. One pair of them serves all connections of a process in turn: each
call fills it, runs OpenSSL, and leaves it empty even on errors. A pair per connection would keep the memory
that its handshake used, 8 kB of 22. Only the beginning of an incomplete record stays in OpenSSL.
"""

import ssl

from qmail_popup.listener.tls.suites import suite_of, version_of

_MAX_HANDSHAKE = 1 << 15  # bytes from a client, which needs 2 kB: OpenSSL would buffer 128 KiB for each


class Server:
    """Starts TLS with the clients of one process."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """context: what each connection starts with."""
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    def open(self) -> "Secure":
        """Start TLS with a client."""
        wrapped = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        return Secure(wrapped, self._incoming, self._outgoing)


class Secure:
    """One client's TLS.

    is_on: whether the handshake is complete
    has_ended: whether the client has sent close_notify
    has_failed: whether the handshake failed or is too long, or an invalid record was received
    """

    __slots__ = ("_begun", "_incoming", "_outgoing", "_pending", "_tls", "has_ended", "has_failed", "is_on")

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        """Start with the handshake."""
        self._tls, self._incoming, self._outgoing = tls, incoming, outgoing
        self._pending, self._begun = b"", 0
        self.is_on = self.has_ended = self.has_failed = False

    def receive(self, data: bytes | memoryview, plain: memoryview) -> int:
        """Decrypt `data` into `plain`, which may overlap; return the number of bytes.

        plain: must have room for `data` and another 16 KiB, because a record may have begun earlier
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
        except ssl.SSLZeroReturnError:  # the same, after our own close_notify
            self.has_ended = True
        except ssl.SSLError:
            self.has_failed = True
        finally:
            self._settle()
        return size

    def send(self, data: bytes | memoryview) -> bytes:
        """Return `data` encrypted, to be sent to the client."""
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
        """Return close_notify; the client may still send (RFC 8446 section 6.1)."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # the client's is still to come, or TLS has failed
            pass
        finally:
            self._settle()
        return self.pending()

    def pending(self) -> bytes:
        """Return bytes to send to the client now: handshake, alert or key update."""
        data, self._pending = self._pending, b""
        return data

    @property
    def names(self) -> tuple[int, int]:
        """Version and cipher suite, as indexes into their tables."""
        cipher = self._tls.cipher()
        return version_of(self._tls.version()), suite_of(cipher[0] if cipher else "")

    def _is_too_long(self, size: int) -> bool:
        """Return whether an incomplete handshake exceeds its limit with `size` more bytes."""
        self._begun += 0 if self.is_on else size
        return self._begun > _MAX_HANDSHAKE

    def _settle(self) -> None:
        """Empty the shared buffers for the next connection."""
        self._pending += self._outgoing.read()
        self._incoming.read()
