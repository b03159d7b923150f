"""One client before its login, in a worker: bytes in, lines to `protocol`, replies out, the rest unread.

Bytes after the login command belong to the subprogram, so that line must be the last taken off the socket.
The worker peeks (MSG_PEEK), then takes off whole lines: two system calls for any number of lines. TLS must be
read completely, so plaintext that must not be processed yet is kept. A line may hold a password: every buffer
is wiped as soon as it has been processed.
"""

import socket
from time import monotonic_ns
from typing import TYPE_CHECKING, Protocol

from qmail_popup import protocol
from qmail_popup.listener.addresses import Address
from qmail_popup.listener.ipc.frames import DISCONNECTED, QUIT, TLS_REQUIRED
from qmail_popup.listener.tls.suites import CLEAR
from qmail_popup.listener.worker.buffer import CLEAR_CHUNK, PEEK, TAKE, Buffer, receive
from qmail_popup.settings import Settings
from qmail_popup.wire import wipe

if TYPE_CHECKING:
    from qmail_popup.listener.tls.engine import Secure

MAX_SKIPPED = 1 << 20  # bytes of a line without an end
_ROOM = protocol.MAX_LINE + 1  # one more, to detect a line that is too long
_NO_IDENTITY = bytes(24)
LOGIN, START_TLS = "login", "start tls"  # outcomes other than the session's end
_HANDED_ON = (LOGIN, START_TLS)


class Server(Protocol):
    """Serves connections."""

    def serve(self, connection: "Connection") -> None:
        """Handle a connection that is ready."""


class Connection:
    """A client.

    number: identifies the session; identity: its trace and span, 24 bytes
    start, greeted: nanoseconds of CLOCK_MONOTONIC; origin: added to them, gives the time of day
    edition: of the rules that admitted it
    unsent: rest of a reply; until it is sent, nothing is read and the session does not end
    tls, suite: indexes into their tables; secure: TLS, once a handshake has begun
    left: plaintext from TLS not processed yet; after the login command it belongs to the subprogram
    is_reported: whether the spawner knows about it
    """

    __slots__ = (
        "_begun",
        "_last",
        "_length",
        "_server",
        "client",
        "edition",
        "greeted",
        "identity",
        "is_reported",
        "left",
        "local",
        "number",
        "origin",
        "peer",
        "secure",
        "settings",
        "start",
        "state",
        "suite",
        "tls",
        "unsent",
    )

    def __init__(  # noqa: PLR0913  known when a client connects
        self,
        server: Server,
        peer: socket.SocketType,
        number: int,
        client: Address,
        settings: Settings,
        *,
        local: Address,
        origin: int,
        start: int,
    ) -> None:
        """Start with nothing read."""
        self._server = server
        self.peer, self.number, self.settings = peer, number, settings
        self.client, self.local = client, local
        self.origin, self.start, self.greeted = origin, start, 0
        self.edition, self.identity, self.is_reported = 0, _NO_IDENTITY, False
        self.tls, self.suite = CLEAR, 0
        self.secure: Secure | None = None
        self.left: bytearray | None = None
        self.unsent, self._last = b"", ""
        self._begun: bytearray | None = None  # an incomplete line, up to _ROOM bytes
        self._length = 0  # its full length so far
        self.state: protocol.Authorization

    def ready(self, _events: int) -> None:
        """Serve this connection."""
        self._server.serve(self)

    def greet(self) -> str:
        """Send the greeting; return how the session ended, if it did."""
        ended = self._send(self.state.greeting())
        self.greeted = 0 if ended else monotonic_ns()
        return ended

    def flush(self, buffer: Buffer) -> str:
        """Send the rest of a reply, then process what is left; return as `read` does."""
        return self.transmit() or ("" if self.unsent else self._last or self.serve_left(buffer))

    def read(self, buffer: Buffer) -> str:
        """Process input; return LOGIN, START_TLS, or how the session ended. BlockingIOError if none."""
        try:
            return self._read_tls(buffer, self.secure) if self.secure else self._read(buffer)
        except BlockingIOError:
            raise
        except OSError:
            return DISCONNECTED

    def serve_left(self, buffer: Buffer) -> str:
        """Process plaintext kept from TLS; return as `read` does."""
        self._last = ""  # STLS led here, and must not start TLS again when a later reply has been sent
        if not self.left:
            return self._over()
        size = len(self.left)
        buffer.view[:size] = self.left
        wipe(self.left)
        self.left = None
        return self._serve_taken(buffer, size)

    def _read(self, buffer: Buffer) -> str:
        size = self.peer.recv_into(buffer.bytes, CLEAR_CHUNK, PEEK)
        if not size:
            return DISCONNECTED
        taken, outcome = self._serve(buffer, size)
        if taken < size and not self.unsent and outcome not in _HANDED_ON:
            self._keep(buffer.view[taken:size])
            taken = size
        buffer.wipe(size)
        self.peer.recv_into(buffer.bytes, taken, TAKE)
        return outcome or self._over()

    def _read_tls(self, buffer: Buffer, secure: "Secure") -> str:
        data = receive(self.peer)
        if not data:
            return DISCONNECTED
        size = secure.receive(data, buffer.view)
        gone = self.transmit(secure.pending())
        return self._serve_taken(buffer, size) or gone

    def _serve_taken(self, buffer: Buffer, size: int) -> str:
        """Process plaintext in the buffer, which cannot be read again."""
        taken, outcome = self._serve(buffer, size)
        rest = buffer.view[taken:size]
        if self.unsent or outcome == LOGIN:
            self.left = bytearray(rest)
        else:
            self._keep(rest)
        buffer.wipe(size)
        return outcome or self._over()

    def _over(self) -> str:
        """Return DISCONNECTED if no more lines will come, or if one is far too long."""
        has_ended = self.secure and (self.secure.has_ended or self.secure.has_failed)
        return DISCONNECTED if self._length > MAX_SKIPPED or (has_ended and not self.unsent) else ""

    def refuse(self) -> None:
        """Wipe the credentials and reply that the login cannot be passed on."""
        wipe(self.state.credentials.secret)
        self._send(protocol.unable("pipe", resp_codes=self.state.resp_codes))

    def _serve(self, buffer: Buffer, size: int) -> tuple[int, str]:
        """Process whole lines; return their size in bytes, and the outcome."""
        start = 0
        while not self.unsent and (end := buffer.bytes.find(b"\n", start, size)) >= 0:
            if self._length + end - start > MAX_SKIPPED:
                return start, DISCONNECTED
            line = self._line(buffer.view[start:end])
            start = end + 1
            reply, action = self.state.command(line)
            if action != protocol.LOGIN:  # that line holds the secret, which is still needed
                wipe(line)
            if outcome := self._after(action, self._send(reply)):
                return start, outcome
        return start, ""

    def _after(self, action: str, gone: str) -> str:
        """Return how the session ends with a command; later, if its reply is still unsent."""
        if action == protocol.LOGIN:
            return LOGIN
        if action == protocol.START_TLS:
            self.state.tls_started()
        self._last = _LAST[action]
        return gone or ("" if self.unsent else self._last)

    def _line(self, rest: memoryview) -> bytearray:
        """Return the line that ends with `rest`, cut after the byte that shows that it is too long."""
        if self._begun is None and len(rest) <= _ROOM:
            return bytearray(rest)
        begun = self._begun or b""
        line = bytearray(min(len(begun) + len(rest), _ROOM))
        room = memoryview(line)  # assigning to a slice of a bytearray leaves a copy in memory
        room[: len(begun)] = begun
        room[len(begun) :] = rest[: len(line) - len(begun)]
        self._wipe()
        return line

    def _keep(self, rest: memoryview) -> None:
        """Keep an incomplete line, up to _ROOM bytes."""
        if rest:
            length = self._length + len(rest)
            self._begun, self._length = self._line(rest), length

    def wipe(self) -> None:
        """Wipe everything received but not processed."""
        self._wipe()
        wipe(self.left or bytearray())
        self.left = None

    def _wipe(self) -> None:
        if self._begun:
            wipe(self._begun)
        self._begun, self._length = None, 0

    def _send(self, reply: bytes) -> str:
        return self.transmit(self.secure.send(reply) if self.secure and reply else reply)

    def transmit(self, data: bytes = b"") -> str:
        """Send the unsent rest and `data` as far as there is room; DISCONNECTED if the client is gone."""
        self.unsent += data
        try:
            if self.unsent:
                self.unsent = self.unsent[self.peer.send(self.unsent, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            pass
        except OSError:
            return DISCONNECTED
        return ""


_LAST = {
    protocol.GO_ON: "",
    protocol.QUIT: QUIT,
    protocol.REFUSE_CLEAR: TLS_REQUIRED,
    protocol.START_TLS: START_TLS,
}
