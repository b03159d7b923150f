"""One client before its login, in a worker: bytes in, lines to `protocol`, replies out, the rest unread.

What stands behind the line that logs in is the subprogram's, so that line must be the last that is taken off
the socket. The socket is looked at first (MSG_PEEK), then what belongs to whole lines is taken off it; that
costs two system calls for any number of lines. A line may hold a password: every buffer is wiped as soon as
it is dealt with.
"""

import socket
from time import monotonic_ns
from typing import Protocol

from qmail_popup import protocol
from qmail_popup.listener.addresses import Address
from qmail_popup.listener.frames import DISCONNECTED, QUIT, TLS_REQUIRED, Frame
from qmail_popup.listener.suites import CLEAR
from qmail_popup.settings import Settings
from qmail_popup.wire import wipe

MAX_SKIPPED = 1 << 20  # bytes of a line without an end
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
_TAKE = socket.MSG_TRUNC | socket.MSG_DONTWAIT  # of a TCP socket that throws away what it takes, tcp(7)
_ROOM = protocol.MAX_LINE + 1  # to tell that a line was longer

_NO_IDENTITY = bytes(24)
LOGIN = "login"  # what comes of a connection that does not end


class Server(Protocol):
    """Who serves connections."""

    def serve(self, connection: "Connection") -> None:
        """See to a connection that is ready."""


class Buffer:
    """What all connections of a worker read into, one after the other."""

    def __init__(self) -> None:
        """Make room for a line and more."""
        self.bytes = bytearray(2 * protocol.MAX_LINE)
        self.view = memoryview(self.bytes)

    def wipe(self, size: int) -> None:
        """Overwrite the first `size` bytes."""
        wipe(self.view[:size])


class Connection:
    """A client.

    number: what the session is known by; identity: and by which it is traced, 24 bytes
    start, greeted: nanoseconds of CLOCK_MONOTONIC; origin: what makes a time of day of them
    edition: of the rules by which it was let in
    unsent: of a reply; while there is any, nothing is read, and nothing ends that is to end behind it
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
        "local",
        "number",
        "origin",
        "peer",
        "settings",
        "start",
        "state",
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
        origin: int,
        start: int,
    ) -> None:
        """Begin with nothing read."""
        self._server = server
        self.peer, self.number, self.client, self.settings = peer, number, client, settings
        self.origin, self.start, self.greeted = origin, start, 0
        self.local = client
        self.edition = 0
        self.identity = _NO_IDENTITY
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

    def flush(self) -> str:
        """Send what is left of a reply; how the session ended, if it did."""
        return self._send(self.unsent) or ("" if self.unsent else self._last)

    def read(self, buffer: Buffer) -> str:
        """Serve what has come; LOGIN, or how the session ended, if it did. BlockingIOError for nothing."""
        try:
            size = self.peer.recv_into(buffer.bytes, 0, _PEEK)
        except BlockingIOError:
            raise
        except OSError:
            return DISCONNECTED
        if not size:
            return DISCONNECTED
        taken, outcome = self._serve(buffer, size)
        if not self.unsent and outcome != LOGIN:
            self._keep(buffer.view[taken:size])
            taken = size
        buffer.wipe(size)
        self.peer.recv_into(buffer.bytes, taken, _TAKE)
        return outcome or (DISCONNECTED if self._length > MAX_SKIPPED else "")

    def frame(
        self, kind: int, word: int, reached: int, *, name: bytes = b"", secret: bytearray | memoryview
    ) -> Frame:
        """Return what is to be told of it."""
        return Frame(
            kind,
            word,
            self.number,
            self.identity[:16],
            self.identity[16:],
            self.origin,
            self.start,
            self.greeted,
            reached,
            self.edition,
            CLEAR,
            0,
            self.client,
            self.local,
            name,
            secret,
        )

    def close(self) -> None:
        """Let the client go, and wipe what it had begun to say."""
        self._wipe()
        self.peer.close()

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
        self._last = _LAST[action]
        return gone or ("" if self.unsent else self._last)

    def _line(self, rest: memoryview) -> bytearray:
        """Return a line that ends with `rest`, cut behind what tells that it is too long."""
        begun = self._begun or b""
        line = bytearray(min(len(begun) + len(rest), _ROOM))
        line[: len(begun)] = begun
        line[len(begun) :] = rest[: len(line) - len(begun)]
        self._wipe()
        return line

    def _keep(self, rest: memoryview) -> None:
        """Keep the beginning of a line, as far as it matters."""
        if rest:
            length = self._length + len(rest)
            self._begun, self._length = self._line(rest), length

    def _wipe(self) -> None:
        if self._begun:
            wipe(self._begun)
        self._begun, self._length = None, 0

    def _send(self, reply: bytes) -> str:
        """Send what the client takes; DISCONNECTED where it has gone."""
        try:
            self.unsent = reply[self.peer.send(reply, socket.MSG_DONTWAIT) :] if reply else b""
        except BlockingIOError:
            self.unsent = reply
        except OSError:
            return DISCONNECTED
        return ""


_LAST = {protocol.GO_ON: "", protocol.QUIT: QUIT, protocol.REFUSE_CLEAR: TLS_REQUIRED}
