"""Logins over TLS: a worker relays between client and subprogram until both have ended.

The subprogram has one end of a socket pair, the relay has the other. Data is read from one side only
after the other has accepted everything before, so a slow reader delays only its own session and uses no
memory. The client's close_notify becomes the subprogram's end of file, and the end of its output becomes a
close_notify. When the subprogram exits, the connection is closed once everything is sent. Until then
no other limit counts the session, so the number of such clients is limited here.
"""

import socket
from typing import TYPE_CHECKING

from qmail_popup.listener.process.loop import GONE, IN, NOTHING, OUT, Loop, Timeouts
from qmail_popup.listener.worker.buffer import Buffer, receive
from qmail_popup.listener.worker.connection import Connection
from qmail_popup.listener.worker.lingering import LingeringCloses

if TYPE_CHECKING:
    from qmail_popup.listener.tls.engine import Secure

_MAX_UNSENT = 1 << 17  # bytes; limits replies to key updates from a client that reads nothing
_MAX_STUCK = 1000  # clients whose subprogram has exited; beyond that the one stuck longest is disconnected


class Relays:
    """One worker's relays."""

    def __init__(
        self, loop: Loop, buffer: Buffer, lingering: LingeringCloses, max_stuck: int = _MAX_STUCK
    ) -> None:
        """Start without a session."""
        self.loop, self.buffer, self.lingering = loop, buffer, lingering
        self.open: set[Relay] = set()
        self.stuck: Timeouts[Relay] = Timeouts(lambda relay: relay.cut())
        self._max_stuck = max_stuck
        loop.timers.append(self.stuck)

    def __len__(self) -> int:
        return len(self.open)

    def begin(self, connection: Connection, secure: "Secure") -> socket.socket:
        """Start relaying for an unwatched client; return the subprogram's end of the pair. OSError."""
        ours, theirs = socket.socketpair()
        relay = Relay(self, connection.peer, secure, ours, connection.settings.idle_timeout)
        self.open.add(relay)
        relay.start(bytes(connection.left or b""))
        return theirs

    def await_client(self, relay: "Relay", seconds: float) -> None:
        """Wait for a client to read what is left of its session; it may read nothing for `seconds`."""
        self.stuck.set(relay, seconds)
        if len(self.stuck) > self._max_stuck and (longest := self.stuck.longest()):
            longest[0].cut()


class _ProgramSide:
    """Handles the relay's end of the socket pair."""

    __slots__ = ("_relay",)

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

    def ready(self, events: int) -> None:
        self._relay.program_ready(events)


class Relay:
    """One session.

    to_client, to_program: data still to send; to the client, as TLS records
    client_ended, program_ended: no more to read from it; has_left: the subprogram's end is closed everywhere
    """

    __slots__ = (
        "_client_ended",
        "_client_events",
        "_has_left",
        "_idle",
        "_peer",
        "_program",
        "_program_ended",
        "_program_events",
        "_relays",
        "_secure",
        "_to_client",
        "_to_program",
    )

    def __init__(
        self, relays: Relays, peer: socket.SocketType, secure: "Secure", program: socket.socket, idle: float
    ) -> None:
        """peer: the client's socket; program: connected to the subprogram.

        idle: how long the client may read nothing after the subprogram's exit
        """
        self._relays, self._peer, self._secure, self._program = relays, peer, secure, program
        self._idle = idle
        self._to_client = self._to_program = b""
        self._client_ended = self._program_ended = self._has_left = False
        self._client_events = self._program_events = NOTHING

    def start(self, early: bytes) -> None:
        """Start with the bytes that the client sent after its login command."""
        self._client_ended = self._secure.has_ended
        self._relays.loop.watch(self._program.fileno(), _ProgramSide(self), NOTHING)
        self._send_program(early)
        if self._secure.has_failed:
            self.cut()
        self._update()

    def ready(self, events: int) -> None:
        """Handle the client's socket."""
        if self._to_client:
            self._send_client(b"")
        elif self._has_left:
            self._read_program()
        if events & ~OUT and self._client_events & IN:
            self._read_client()
        self._update()

    def program_ready(self, events: int) -> None:
        """Handle the subprogram's socket."""
        if self._to_program:
            self._send_program(b"")
        if not self._to_client:
            self._read_program()
        if events & GONE:
            self._has_left = self._client_ended = True
            self._to_program = b""
        self._update()

    def cut(self) -> None:
        """Close both directions at once: the client is gone or reads nothing."""
        self._stop()
        self._peer.close()

    def _read_client(self) -> None:
        """Read from the client; a reset is not end of file, but ends the session."""
        view = self._relays.buffer.view
        try:
            data = receive(self._peer)
        except BlockingIOError:
            return
        except OSError:
            self.cut()
            return
        size = self._secure.receive(data, view)
        self._client_ended = not data or self._secure.has_ended
        self._send_program(view[:size])
        self._send_client(self._secure.pending())
        if self._secure.has_failed:
            self.cut()

    def _read_program(self) -> None:
        """Read from the subprogram."""
        buffer = self._relays.buffer
        if self._program_ended:
            return
        try:
            size = self._program.recv_into(buffer.bytes, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # it closed with unread input
            size = 0
        self._program_ended = not size
        self._send_client(self._secure.send(buffer.view[:size]) if size else self._secure.close())

    def _send_client(self, records: bytes) -> None:
        """Send to the client as far as there is room; shut down after the last record."""
        self._to_client += records
        try:
            if self._to_client:
                self._to_client = self._to_client[self._peer.send(self._to_client, socket.MSG_DONTWAIT) :]
                if self._program_ended and not self._to_client:
                    self._peer.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self.cut()

    def _send_program(self, data: bytes | memoryview) -> None:
        """Write to the subprogram as far as there is room, then end of file; it need not read either."""
        try:
            if data or self._to_program:
                data = self._to_program or data
                self._to_program = bytes(data[self._program.send(data, socket.MSG_DONTWAIT) :])
            if self._client_ended and not self._to_program:
                self._program.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            self._to_program = bytes(data)
        except OSError:
            self._client_ended, self._to_program = True, b""

    def _update(self) -> None:
        """Watch for the next possible events, or end the relay."""
        if self not in self._relays.open:
            return
        if self._program_ended and not self._to_client and (self._has_left or self._input_is_done()):
            self._stop()
            self._relays.lingering.linger(self._peer)
            return
        if self._client_events != (wanted := self._wanted_of_client()):
            self._relays.loop.expect(self._peer.fileno(), self, wanted)
            self._client_events = wanted
        if self._has_left:
            self._relays.loop.forget(self._program.fileno())
            self._relays.await_client(self, self._idle)
        elif self._program_events != (wanted := self._wanted_of_program()):
            self._relays.loop.change(self._program.fileno(), wanted)
            self._program_events = wanted

    def _stop(self) -> None:
        """Stop relaying; the client's socket stays open."""
        if self in self._relays.open:
            self._relays.open.discard(self)
            self._relays.stuck.drop(self)
            for sock in (self._program, self._peer):
                self._relays.loop.forget(sock.fileno())
            self._program.close()

    def _input_is_done(self) -> bool:
        return self._client_ended and not self._to_program

    def _wanted_of_client(self) -> int:
        takes = not self._client_ended and not self._to_program and len(self._to_client) < _MAX_UNSENT
        gives = self._to_client or (self._has_left and not self._program_ended)
        return (IN if takes else NOTHING) | (OUT if gives else NOTHING)

    def _wanted_of_program(self) -> int:
        gives = not self._program_ended and not self._to_client
        return (IN if gives else NOTHING) | (OUT if self._to_program else NOTHING)
