"""One client before its login, in a worker: bytes in, lines to `protocol`, replies out, the rest unread.

What stands behind the line that logs in is the subprogram's, so that line must be the last that is taken off
the socket. The socket is looked at first (MSG_PEEK), then what belongs to whole lines is taken off it; that
costs two system calls for any number of lines. Over TLS all has to be taken, so what is not to be read yet is
kept. A line may hold a password: every buffer is wiped as soon as it is dealt with.
"""

import socket
from time import monotonic_ns
from typing import TYPE_CHECKING, Protocol

from qmail_popup import protocol
from qmail_popup.listener.addresses import Address
from qmail_popup.listener.ipc.frames import DISCONNECTED, QUIT, TLS_REQUIRED
from qmail_popup.listener.tls.suites import CLEAR
from qmail_popup.listener.worker.buffer import CLEAR_CHUNK, Buffer, receive
from qmail_popup.settings import Settings
from qmail_popup.wire import wipe

if TYPE_CHECKING:
    from qmail_popup.listener.tls.engine import Secure

MAX_SKIPPED = 1 << 20  # bytes of a line without an end
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
_TAKE = socket.MSG_TRUNC | socket.MSG_DONTWAIT  # of a TCP socket that throws away what it takes, tcp(7)
_ROOM = protocol.MAX_LINE + 1  # to tell that a line was longer

_NO_IDENTITY = bytes(24)
LOGIN, START_TLS = "login", "start tls"  # what comes of a connection that does not end
_HANDED_ON = (LOGIN, START_TLS)


class Server(Protocol):
    """Who serves connections."""

    def serve(self, connection: "Connection") -> None:
        """See to a connection that is ready."""


class Connection:
    """A client.

    number: what the session is known by; identity: and by which it is traced, 24 bytes
    start, greeted: nanoseconds of CLOCK_MONOTONIC; origin: what makes a time of day of them
    edition: of the rules by which it was let in
    unsent: of a reply; while there is any, nothing is read, and nothing ends that is to end behind it
    tls, suite: places in their tables; secure: TLS, once a handshake has begun
    left: what has come over TLS and is not served yet; of a client that logs in, it is the subprogram's
    is_told: whether the spawner knows of it
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
        "is_told",
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

    def __init__(  # noqa: PLR0913  what is known of a client when it connects
        self,
        server: Server,
        peer: socket.socket,
        number: int,
        client: Address,
        settings: Settings,
        *,
        local: Address,
        origin: int,
        start: int,
    ) -> None:
        """Begin with nothing read."""
        self._server = server
        self.peer, self.number, self.settings = peer, number, settings
        self.client, self.local = client, local
        self.origin, self.start, self.greeted = origin, start, 0
        self.edition, self.identity, self.is_told = 0, _NO_IDENTITY, False
        self.tls, self.suite = CLEAR, 0
        self.secure: Secure | None = None
        self.left: bytearray | None = None
        self.unsent, self._last = b"", ""
        self._begun: bytearray | None = None  # of a line whose end has not come
        self._length = 0  # of that line
        self.state: protocol.Authorization

    def ready(self, _events: int) -> None:
        """Have it served."""
        self._server.serve(self)

    def greet(self) -> str:
        """Send the first reply; how the session ended, if it did."""
        ended = self._send(self.state.greeting())
        self.greeted = 0 if ended else monotonic_ns()
        return ended

    def flush(self, buffer: Buffer) -> str:
        """Send what is left of a reply, and serve what is left; what comes of it, as of `read`."""
        return self.transmit() or ("" if self.unsent else self._last or self.serve_left(buffer))

    def read(self, buffer: Buffer) -> str:
        """Serve what has come; LOGIN, START_TLS, or how the session ended. BlockingIOError for nothing."""
        try:
            return self._read_tls(buffer, self.secure) if self.secure else self._read(buffer)
        except BlockingIOError:
            raise
        except OSError:
            return DISCONNECTED

    def serve_left(self, buffer: Buffer) -> str:
        """Serve what had come over TLS before it could be served; what comes of it, as of `read`."""
        if not self.left:
            return self._over()
        size = len(self.left)
        buffer.view[:size] = self.left
        wipe(self.left)
        self.left = None
        return self._serve_taken(buffer, size)

    def _read(self, buffer: Buffer) -> str:
        size = self.peer.recv_into(buffer.bytes, CLEAR_CHUNK, _PEEK)
        if not size:
            return DISCONNECTED
        taken, outcome = self._serve(buffer, size)
        if not self.unsent and outcome not in _HANDED_ON:
            self._keep(buffer.view[taken:size])
            taken = size
        buffer.wipe(size)
        self.peer.recv_into(buffer.bytes, taken, _TAKE)
        return outcome or self._over()

    def _read_tls(self, buffer: Buffer, secure: "Secure") -> str:
        data = receive(self.peer)
        if not data:
            return DISCONNECTED
        size = secure.receive(data, buffer.view)
        gone = self.transmit(secure.pending())
        return self._serve_taken(buffer, size) or gone

    def _serve_taken(self, buffer: Buffer, size: int) -> str:
        """Serve what is in the buffer and nowhere else."""
        taken, outcome = self._serve(buffer, size)
        rest = buffer.view[taken:size]
        if self.unsent or outcome == LOGIN:
            self.left = bytearray(rest)
        else:
            self._keep(rest)
        buffer.wipe(size)
        return outcome or self._over()

    def _over(self) -> str:
        """Return DISCONNECTED where no more lines will come, or one that is far too long."""
        has_ended = self.secure and (self.secure.has_ended or self.secure.has_failed)
        return DISCONNECTED if self._length > MAX_SKIPPED or (has_ended and not self.unsent) else ""

    def refuse(self) -> None:
        """Wipe what a client logs in with, and say that it cannot be handed on."""
        wipe(self.state.credentials.secret)
        self._send(protocol.unable("pipe", resp_codes=self.state.resp_codes))

    def _serve(self, buffer: Buffer, size: int) -> tuple[int, str]:
        """Serve whole lines; how many bytes they are, and what came of them."""
        start = 0
        while not self.unsent and (end := buffer.bytes.find(b"\n", start, size)) >= 0:
            if self._length + end - start > MAX_SKIPPED:
                return start, DISCONNECTED
            line = self._line(buffer.view[start:end])
            start = end + 1
            reply, action = self.state.command(line)
            if action != protocol.LOGIN:  # then it holds the secret, which is still to be handed over
                wipe(line)
            if outcome := self._after(action, self._send(reply)):
                return start, outcome
        return start, ""

    def _after(self, action: str, gone: str) -> str:
        """Return how the session ends with a command; what is still unsent comes first."""
        if action == protocol.LOGIN:
            return LOGIN
        if action == protocol.START_TLS:
            self.state.tls_started()
        self._last = _LAST[action]
        return gone or ("" if self.unsent else self._last)

    def _line(self, rest: memoryview) -> bytearray:
        """Return a line that ends with `rest`, cut behind what tells that it is too long."""
        begun = self._begun or b""
        line = bytearray(min(len(begun) + len(rest), _ROOM))
        room = memoryview(line)  # what is assigned to a part of a bytearray is copied first, and stays there
        room[: len(begun)] = begun
        room[len(begun) :] = rest[: len(line) - len(begun)]
        self._wipe()
        return line

    def _keep(self, rest: memoryview) -> None:
        """Keep the beginning of a line, as far as it matters."""
        if rest:
            length = self._length + len(rest)
            self._begun, self._length = self._line(rest), length

    def wipe(self) -> None:
        """Wipe what the client had begun to say."""
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
        """Send what the client takes of what is unsent, and of `data`; DISCONNECTED where it has gone."""
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
