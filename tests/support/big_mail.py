"""A mail of 100 MB, and a client that reads it piece by piece while other things happen."""

import hashlib
from pathlib import Path

from tests.support.load import Client
from tests.support.maildir import Account
from tests.support.resident import read_line

_LINE, _NEXT = b"%098d\r\n", 9 * (98 * b"-" + b"\r\n")  # a number every thousand bytes
_LINES = 1_000_000
SIZE = _LINES * 100  # bytes on the wire
_PIECE = 1 << 16


def deliver(owner: Account) -> str:
    """Put it into an account's maildir as the first mail; return its hash on the wire."""
    digest = hashlib.sha256()
    with Path(owner.home / "Maildir/new/100000000.big.test").open("wb") as file:
        for start in range(0, _LINES, 1000):
            lines = b"".join(_LINE % line + _NEXT for line in range(start, start + 1000, 10))
            digest.update(lines)
            file.write(lines.replace(b"\r", b""))
    return digest.hexdigest()


class Reader:
    """A client that has logged in and is retrieving the mail."""

    def __init__(self, peer: Client) -> None:
        """Log in on a new connection."""
        self._peer = peer
        self._digest, self._size = hashlib.sha256(), 0
        peer.sendall(b"USER bob\r\nPASS secret\r\nRETR 1\r\nQUIT\r\n")
        for _ in range(4):  # greeting, USER, PASS, RETR
            assert read_line(peer).startswith(b"+OK")

    def read(self, size: int) -> None:
        """Read at least `size` more bytes of the mail."""
        wanted = self._size + size
        while self._size < wanted:
            piece = self._peer.recv(_PIECE)
            assert piece, f"the connection has ended after {self._size} bytes"
            self._digest.update(piece[: SIZE - self._size] if self._size < SIZE else b"")
            self._size += len(piece)

    def rest(self) -> str:
        """Read to the end of the session; return the hash of the mail."""
        self.read(SIZE - self._size)
        while self._peer.recv(_PIECE):  # the dot, and the answer to QUIT
            pass
        return self._digest.hexdigest()
