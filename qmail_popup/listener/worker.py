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
from qmail_popup.listener.doors import Doors
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
from qmail_popup.listener.loop import IN, OUT, Loop, Timeouts
from qmail_popup.listener.options import Options
from qmail_popup.listener.outbox import Outbox
from qmail_popup.listener.room import Room
from qmail_popup.listener.session import timestamp
from qmail_popup.listener.variables import SettingsOf

_ALWAYS_TOLD = (TLS_REQUIRED, BAD_HEADER)  # for a line of the spawner's


class Worker:
    """All that one process does."""

    def __init__(  # noqa: PLR0913  the parts that it is given
        self,
        options: Options,
        settings_of: SettingsOf,
        *,
        listeners: Sequence[socket.socket],
        control: socket.socket,
        column: Column,
        bells: Sequence[int],
        slot: int,
        first_number: int,
        rules: socket.socket | None,
    ) -> None:
        """slot: this worker's, and its bell's; first_number: of a session, above any that was given.

        rules: leads to the reader of rules, if there are any
        """
        settings = settings_of.default
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
            timed_out=lambda connection: self._end(connection, TIMEOUT),
            refused=lambda connection: self._end(connection, REFUSED),
            rung=self._accept_all,
        )
        self._entrance = Entrance(
            self._loop,
            options,
            self._room,
            self._buffer,
            settings_of=settings_of,
            rules=rules,
            greet=self._greet,
            ended=self._end,
        )
        self._slow: Timeouts[Connection] = Timeouts(lambda connection: self._end(connection, TIMEOUT))
        self._loop.timers.append(self._slow)
        self._is_draining = False
        self._doors = Doors(self._loop, listeners, self._begin)
        self._loop.watch(control.fileno(), Control(control, self._connect, self._drain))

    def run(self) -> None:
        """Serve until the supervisor has ended and the last connection too."""
        while not (self._is_draining and not self._slow and not self._outbox):
            self._loop.turn()
            self._room.publish()
            if self._is_draining and not self._outbox.is_connected:
                self._give_up()

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

    def _connect(self, _slot: int, descriptors: list[int]) -> None:
        """Take the way to a spawner, and tell a new one of all that are open."""
        self._outbox.connect(socket.socket(fileno=descriptors[0]))
        if self._is_tracked:
            for connection in self._slow:
                if connection.greeted:
                    self._tell(connection, BEGIN)

    def _drain(self) -> None:
        """Accept who waits already, and nobody behind them."""
        self._is_draining = True
        self._loop.forget(self._control.fileno())
        self._doors.close()
        self._control.close()  # which tells that it is done

    def _accept_all(self) -> None:
        self._doors.accept_all()

    def _begin(self, peer: socket.socket, client: addresses.Address) -> None:
        """Take a client that has connected; its time begins."""
        now = time.monotonic_ns()
        self._number += SLOTS
        connection = Connection(
            self, peer, self._number, client, self._settings, origin=time.time_ns() - now, start=now
        )
        if self._is_tracked:
            connection.identity = os.urandom(24)
            connection.local = addresses.read(peer.getsockname())
        self._slow.set(connection, self._settings.login_timeout)
        self._entrance.begin(connection)

    def _greet(self, connection: Connection) -> None:
        """Send the greeting, and listen."""
        if connection.settings is not self._settings:  # a rule has changed its time
            self._slow.set(connection, connection.settings.login_timeout, connection.start / 1e9)
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
        told = connection.settings
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
