"""A worker: accepts connections and speaks POP3 with them up to the login, in one loop, with no privileges.

What reads bytes of strangers is here, and nothing in here can do more than tell the spawner of sessions. Owns
the limits before the login: how long a client may be silent, how long it may take in all, how many there may
be.
"""

import os
import socket
import time
from collections.abc import Sequence

from qmail_popup import protocol
from qmail_popup.listener import addresses
from qmail_popup.listener.census import Column
from qmail_popup.listener.connection import LOGIN, Buffer, Connection
from qmail_popup.listener.control import Control
from qmail_popup.listener.entrance import Entrance
from qmail_popup.listener.frames import (
    BAD_HEADER,
    BEGIN,
    DISCONNECTED,
    END,
    ENDED,
    METHODS,
    REFUSED,
    SLOTS,
    TIMEOUT,
    TLS_REQUIRED,
)
from qmail_popup.listener.frames import LOGIN as LOGIN_FRAME
from qmail_popup.listener.loop import ALONE, IN, OUT, Deadlines, Loop
from qmail_popup.listener.options import Options
from qmail_popup.listener.outbox import Outbox
from qmail_popup.listener.room import Room
from qmail_popup.listener.session import timestamp
from qmail_popup.settings import Settings

_ALWAYS_TOLD = (TLS_REQUIRED, BAD_HEADER)  # for a line of the spawner's
_PAUSE_SECONDS = 0.1  # where no descriptor is left


class _Door:
    """A listening socket."""

    __slots__ = ("_worker", "peer")

    def __init__(self, worker: "Worker", peer: socket.socket) -> None:
        self._worker, self.peer = worker, peer

    def ready(self, _events: int) -> None:
        self._worker.accept(self)


class Worker:
    """All that one process does."""

    def __init__(  # noqa: PLR0913  the parts that it is given
        self,
        options: Options,
        settings: Settings,
        *,
        listeners: Sequence[socket.socket],
        control: socket.socket,
        column: Column,
        bells: Sequence[int],
        slot: int,
        first_number: int,
    ) -> None:
        """slot: this worker's, and its bell's; first_number: of a session, above any that was given."""
        self._settings, self._number, self._control = settings, first_number, control
        self._is_tracked = bool(settings.spool) or options.verbose
        self._loop, self._buffer = Loop(), Buffer()
        self._outbox = Outbox(self._loop)
        self._room = Room(
            self._loop,
            options,
            column,
            bells=bells,
            slot=slot,
            idle=settings.idle_timeout,
            timed_out=lambda connection: self._end(connection, TIMEOUT),
            refused=lambda connection: self._end(connection, REFUSED),
            rung=self._accept_all,
        )
        self._entrance = Entrance(
            self._loop, options, self._room, self._buffer, greet=self._greet, ended=self._end
        )
        self._slow: Deadlines[Connection] = Deadlines(
            settings.login_timeout, lambda connection: self._end(connection, TIMEOUT)
        )
        self._full: Deadlines[_Door] = Deadlines(_PAUSE_SECONDS, self._open)
        self._loop.timers += [self._slow, self._full]
        self._doors = [_Door(self, peer) for peer in listeners]
        self._is_draining = False
        for door in self._doors:
            self._open(door)
        self._loop.watch(control.fileno(), Control(control, self._connect, self._drain))

    def run(self) -> None:
        """Serve until the supervisor has ended and the last connection too."""
        while not (self._is_draining and not self._slow and not self._outbox):
            self._loop.turn()
            self._room.publish()
            if self._is_draining and not self._outbox.is_connected:
                self._give_up()

    def accept(self, door: _Door) -> None:
        """Take one of those who wait at a listening socket: the others are the other workers'."""
        self._accept(door)

    def serve(self, connection: Connection) -> None:
        """Take what a client has sent, or send it what it takes."""
        was_full = bool(connection.unsent)
        try:
            ended = connection.flush() if was_full else connection.read(self._buffer)
        except BlockingIOError:
            return
        if ended == LOGIN:
            self._log_in(connection)
        elif ended:
            self._end(connection, ended)
        else:
            self._room.heard(connection)
            if was_full != bool(connection.unsent):
                self._loop.change(connection.peer.fileno(), IN if was_full else OUT)

    def _open(self, door: _Door) -> None:
        if not self._is_draining:
            self._loop.watch(door.peer.fileno(), door, IN | ALONE)

    def _connect(self, _slot: int, descriptors: list[int]) -> None:
        """Take the way to a spawner, and tell a new one of all that are open."""
        self._outbox.connect(socket.socket(fileno=descriptors[0]))
        if self._is_tracked:
            for connection in self._slow:
                if connection.greeted:
                    self._tell(connection, BEGIN)

    def _drain(self) -> None:
        """Accept who waits already, and nobody behind them: those the kernel tells to others by then."""
        self._is_draining = True
        self._loop.forget(self._control.fileno())
        for door in self._doors:
            self._loop.forget(door.peer.fileno())
        self._accept_all()
        for door in self._doors:
            door.peer.close()
        self._doors.clear()
        self._control.close()  # which tells that it is done

    def _accept_all(self) -> None:
        """Take all who wait: the kernel may have told of them a worker that has ended since."""
        for door in self._doors:
            while self._accept(door):
                pass

    def _accept(self, door: _Door) -> bool:
        """Take one who waits at a listening socket; False where nobody does, or nobody can be taken."""
        try:
            peer, name = door.peer.accept()
        except BlockingIOError:
            return False
        except ConnectionError:  # gone already
            return True
        except OSError:  # no descriptor is left, or no memory
            self._loop.forget(door.peer.fileno())
            self._full.set(door)
            return False
        self._begin(peer, addresses.read(name))
        return True

    def _begin(self, peer: socket.socket, client: addresses.Address) -> None:
        """Take a client that has connected; its time begins."""
        now = time.monotonic_ns()
        self._number += SLOTS
        connection = Connection(self, peer, self._number, client, origin=time.time_ns() - now, start=now)
        if self._is_tracked:
            connection.identity = os.urandom(24)
            connection.local = addresses.read(peer.getsockname())
        self._slow.set(connection)
        self._entrance.begin(connection)

    def _greet(self, connection: Connection) -> None:
        """Send the greeting, and listen."""
        connection.state = self._authorization(connection)
        if ended := connection.greet():
            self._end(connection, ended)
            return
        if self._is_tracked:
            self._tell(connection, BEGIN)
        self._loop.watch(connection.peer.fileno(), connection, OUT if connection.unsent else IN)
        self._room.heard(connection)
        self._room.make()

    def _authorization(self, connection: Connection) -> protocol.Authorization:
        told = self._settings
        return protocol.Authorization(
            timestamp(connection.number, connection.origin + connection.start, told.hostname),
            apop=told.apop,
            stls=False,
            tls_required=told.tls_required,
            tls=False,
            resp_codes=told.resp_codes,
        )

    def _log_in(self, connection: Connection) -> None:
        """Hand a client over, with what it logs in with."""
        login = connection.state.credentials
        method = METHODS.index(login.method)
        self._forget(connection)
        self._loop.forget(connection.peer.fileno())
        frame = connection.frame(
            LOGIN_FRAME, method, time.monotonic_ns(), name=login.name, secret=login.secret
        )
        self._outbox.put(frame, connection.peer)

    def _end(self, connection: Connection, ended: str) -> None:
        """Let a client go, and tell how its session ended where anybody wants to know."""
        self._forget(connection)
        self._loop.closing(connection.peer.fileno())
        connection.close()
        if self._is_tracked or ended in _ALWAYS_TOLD:
            self._tell(connection, END, ENDED.index(ended))

    def _forget(self, connection: Connection) -> None:
        self._slow.drop(connection)
        self._entrance.forget(connection)
        self._room.leave(connection)

    def _tell(self, connection: Connection, kind: int, word: int = 0) -> None:
        reached = time.monotonic_ns() if kind == END else 0
        self._outbox.put(connection.frame(kind, word, reached, secret=bytearray()))

    def _give_up(self) -> None:
        """End what is open: the spawner has ended, and nobody is there to start another."""
        for connection in list(self._slow):
            self._end(connection, DISCONNECTED)
        self._outbox.clear()
