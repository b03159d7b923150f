"""A worker: accepts connections and speaks POP3 up to the login, in one loop, with no privileges.

All code that parses clients' bytes runs here, and can do no more than report sessions to the spawner. Owns
the limits before the login: idle timeout, login timeout, number of connections.
"""

import os
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qmail_popup import protocol
from qmail_popup.listener import addresses
from qmail_popup.listener.ipc.control import Control
from qmail_popup.listener.ipc.counts import Column
from qmail_popup.listener.ipc.frames import DISCONNECTED, ERROR, REFUSED, SLOTS, TIMEOUT
from qmail_popup.listener.options import Options
from qmail_popup.listener.process.loop import IN, OUT, Loop, Timeouts
from qmail_popup.listener.process.sockets import Listening
from qmail_popup.listener.tls.suites import CLEAR
from qmail_popup.listener.variables import SettingsOf
from qmail_popup.listener.worker.acceptors import Acceptors
from qmail_popup.listener.worker.admission import Admission
from qmail_popup.listener.worker.buffer import Buffer
from qmail_popup.listener.worker.connection import LOGIN, START_TLS, Connection
from qmail_popup.listener.worker.handshakes import Handshakes
from qmail_popup.listener.worker.limits import Limits
from qmail_popup.listener.worker.lingering import LingeringCloses
from qmail_popup.listener.worker.outbox import Outbox
from qmail_popup.listener.worker.relays import Relays
from qmail_popup.listener.worker.reports import Reports

if TYPE_CHECKING:
    from qmail_popup.listener.tls.engine import Server


class Worker:
    """The process's event loop and its handlers."""

    def __init__(  # noqa: PLR0913  its collaborators
        self,
        options: Options,
        settings_of: SettingsOf,
        *,
        listening: Sequence[Listening],
        control: socket.socket,
        column: Column,
        wakeups: Sequence[int],
        slot: int,
        first_number: int,
        rules: socket.socket | None,
        tls: "Server | None",
    ) -> None:
        """slot: this worker's, also of its eventfd; first_number: for sessions, above all used before.

        rules: connects to the rules reader, if any; tls: None without a certificate
        """
        settings = settings_of.default
        self._settings, self._number, self._control = settings, first_number, control
        self._loop, self._buffer = Loop(), Buffer()
        self._outbox = Outbox(self._loop)
        self._reports = Reports(self._outbox, is_tracked=bool(settings.spool) or options.verbose)
        self._limits = Limits(
            self._loop,
            options,
            column,
            wakeups=wakeups,
            slot=slot,
            timed_out=lambda connection: self._end(connection, TIMEOUT),
            refused=lambda connection: self._end(connection, REFUSED),
            woken=self._accept_all,
        )
        self._admission = Admission(
            self._loop,
            options,
            self._limits,
            self._buffer,
            settings_of=settings_of,
            rules=rules,
            greet=self._admit,
            ended=self._end,
        )
        self._lingering = LingeringCloses(self._loop, self._buffer)
        self._relays = Relays(self._loop, self._buffer, self._lingering)
        self._handshakes = (
            Handshakes(self._loop, tls, self._buffer, done=self._secured, ended=self._end) if tls else None
        )
        self._slow: Timeouts[Connection] = Timeouts(lambda connection: self._end(connection, TIMEOUT))
        self._loop.timers.append(self._slow)
        self._is_draining = False
        self._acceptors = Acceptors(self._loop, listening, self._begin)
        Control(self._loop, control, self._connect, self._drain)

    def run(self) -> None:
        """Run until the supervisor and the last connection have ended."""
        while not (self._is_draining and self._is_idle()):
            self._loop.turn()
            self._limits.publish()
            if self._is_draining and not self._outbox.is_connected:
                self._give_up()

    def serve(self, connection: Connection) -> None:
        """Process a client's input, or send it the rest of a reply."""
        was_full = bool(connection.unsent)
        self._limits.restart_timeout(connection)  # before the reply, so that all workers agree on the order
        try:
            came = connection.flush(self._buffer) if was_full else connection.read(self._buffer)
        except BlockingIOError:
            return
        if came:
            self._pass_on(connection, came)
        elif was_full != bool(connection.unsent):
            self._loop.change(connection.peer.fileno(), IN if was_full else OUT)

    def _pass_on(self, connection: Connection, came: str) -> None:
        """Handle an outcome: login, TLS, or the session's end."""
        if came == LOGIN:
            self._log_in(connection)
        elif came == START_TLS and self._handshakes:
            self._loop.forget(connection.peer.fileno())
            self._handshakes.begin(connection)
        else:
            self._end(connection, came)

    def _is_idle(self) -> bool:
        return not (self._slow or self._outbox or self._relays or self._lingering)

    def _connect(self, _slot: int, descriptors: list[int]) -> None:
        """Connect to a spawner, and tell it about all open connections."""
        self._outbox.connect(socket.socket(fileno=descriptors[0]))
        for connection in self._slow:
            if connection.is_reported:
                self._reports.begin(connection)

    def _drain(self) -> None:
        """Accept connections that wait already, and no more."""
        self._is_draining = True
        self._loop.forget(self._control.fileno())
        self._acceptors.close()
        self._control.close()  # tells the supervisor that it is done

    def _accept_all(self) -> None:
        self._acceptors.accept_all()

    def _begin(self, peer: socket.SocketType, client: addresses.Address, tls: int) -> None:
        """Start a new connection and its login timeout."""
        now = time.monotonic_ns()
        self._number += SLOTS
        connection = Connection(
            self,
            peer,
            self._number,
            client,
            self._settings,
            local=addresses.read_local(peer.getsockname()),
            origin=time.time_ns() - now,
            start=now,
        )
        connection.tls = tls
        if self._reports.is_tracked:
            connection.identity = os.urandom(24)
        self._slow.set(connection, self._settings.login_timeout)
        self._admission.begin(connection)

    def _admit(self, connection: Connection) -> None:
        """Greet an admitted client, over POP3S after the handshake."""
        if connection.settings.login_timeout != self._settings.login_timeout:  # a rule has changed it
            self._slow.set(connection, connection.settings.login_timeout, connection.start / 1e9)
        connection.state = self._authorization(connection)
        if connection.tls == CLEAR or not self._handshakes:
            self._greet(connection)
            return
        self._reports.begin(connection)
        self._handshakes.begin(connection)
        self._limits.restart_timeout(connection)
        self._limits.enforce()

    def _greet(self, connection: Connection) -> None:
        """Send the greeting and wait for commands."""
        if ended := connection.greet():
            self._end(connection, ended)
            return
        if not connection.is_reported:
            self._reports.begin(connection)
        self._resume(connection)
        self._limits.enforce()

    def _secured(self, connection: Connection) -> None:
        """Continue over TLS."""
        if connection.greeted:
            self._resume(connection)
        else:
            self._greet(connection)

    def _resume(self, connection: Connection) -> None:
        """Process what is left from TLS, then wait for commands."""
        came = connection.serve_left(self._buffer)
        self._loop.watch(connection.peer.fileno(), connection, OUT if connection.unsent else IN)
        self._limits.restart_timeout(connection)
        if came:
            self._pass_on(connection, came)

    def _authorization(self, connection: Connection) -> protocol.Authorization:
        settings = connection.settings
        return protocol.Authorization(
            protocol.timestamp(connection.number, connection.origin + connection.start, settings.hostname),
            apop=settings.apop,
            stls=self._handshakes is not None and settings.tls_wanted,
            tls_required=settings.tls_required,
            tls=connection.tls != CLEAR,
            resp_codes=settings.resp_codes,
        )

    def _log_in(self, connection: Connection) -> None:
        """Pass the credentials and the client's socket to the spawner; over TLS, the relay's."""
        secure = connection.secure
        self._loop.forget(connection.peer.fileno())
        try:
            peer = self._relays.begin(connection, secure) if secure else connection.peer
        except OSError:
            connection.refuse()
            self._end(connection, ERROR)
            return
        self._forget(connection)
        self._reports.log_in(connection, peer)

    def _end(self, connection: Connection, ended: str) -> None:
        """Close a connection and report how its session ended."""
        self._forget(connection)
        self._loop.forget(connection.peer.fileno())
        connection.wipe()
        self._lingering.close(connection)
        self._reports.end(connection, ended)

    def _forget(self, connection: Connection) -> None:
        self._slow.drop(connection)
        self._admission.forget(connection)
        if self._handshakes:
            self._handshakes.forget(connection)
        self._limits.leave(connection)

    def _give_up(self) -> None:
        """End open connections: the spawner has ended and will not be restarted."""
        for connection in list(self._slow):
            self._end(connection, DISCONNECTED)
        self._outbox.clear()
