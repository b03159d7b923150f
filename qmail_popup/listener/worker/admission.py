"""Checks before the greeting, in a worker: a load balancer's header, then the limits, then the rules.

A connection from a balancer begins with a PROXY header, which names the client; bytes after the header stay
on the socket. Until the header is complete, the connection counts in the total but for no client.
"""

import socket
from collections.abc import Callable

from qmail_popup.listener import addresses
from qmail_popup.listener.ipc.frames import BAD_HEADER, DISCONNECTED, NO_HEADER, REFUSED
from qmail_popup.listener.options import Options
from qmail_popup.listener.process.loop import Deadlines, Loop
from qmail_popup.listener.rules.lookups import AS_IT_IS_NOW, Answer, Lookups, Question
from qmail_popup.listener.variables import SettingsOf
from qmail_popup.listener.worker import proxy
from qmail_popup.listener.worker.buffer import CLEAR_CHUNK, PEEK, TAKE, Buffer
from qmail_popup.listener.worker.connection import Connection
from qmail_popup.listener.worker.limits import Limits
from qmail_popup.wire import wipe

HEADER_SECONDS = 30  # part of the login timeout


class _Header:
    """An incomplete header."""

    __slots__ = ("_admission", "begun", "connection")

    def __init__(self, admission: "Admission", connection: Connection) -> None:
        self._admission, self.connection = admission, connection
        self.begun = bytearray()

    def ready(self, _events: int) -> None:
        self._admission.read(self)


class Admission:
    """One worker's checks before the greeting."""

    def __init__(  # noqa: PLR0913  its collaborators
        self,
        loop: Loop,
        options: Options,
        limits: Limits,
        buffer: Buffer,
        *,
        settings_of: SettingsOf,
        rules: socket.socket | None,
        greet: Callable[[Connection], None],
        ended: Callable[[Connection, str], None],
    ) -> None:
        """rules: connects to the rules reader, if any.

        greet: called with each admitted connection; ended: with each other one, and how it ended
        """
        self._loop, self._limits, self._buffer = loop, limits, buffer
        self._greet, self._ended = greet, ended
        self._settings_of = settings_of
        self._lookups = Lookups(loop, rules, self._answered) if rules else None
        self._balancers = options.proxy_protocol
        seconds = min(HEADER_SECONDS, settings_of.default.login_timeout)
        self._headers: Deadlines[Connection] = Deadlines(seconds, lambda late: ended(late, NO_HEADER))
        loop.timers.append(self._headers)

    def begin(self, connection: Connection) -> None:
        """Check a new connection."""
        if not self._balancers or not addresses.is_in(connection.client.ip, self._balancers):
            self._admit(connection)
            return
        self._limits.hold(connection)
        self._headers.set(connection, connection.start / 1e9)
        self._loop.watch(connection.peer.fileno(), _Header(self, connection))
        self._limits.enforce()

    def forget(self, connection: Connection) -> None:
        """Stop waiting for a connection's PROXY header or rules."""
        self._headers.drop(connection)
        if self._lookups:
            self._lookups.forget(connection.number)

    def read(self, header: _Header) -> None:
        """Read part of a header."""
        connection = header.connection
        try:
            size = connection.peer.recv_into(self._buffer.bytes, CLEAR_CHUNK, PEEK)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        try:
            whole = self._take(header, size) if size else None
        except proxy.BadHeaderError:
            self._ended(connection, BAD_HEADER)
            return
        if whole:
            self._arrived(connection, whole)
        elif not size:
            self._ended(connection, DISCONNECTED)

    def _take(self, header: _Header, size: int) -> proxy.Header | None:
        """Take only the header off the socket: the bytes after it may hold a password."""
        before = len(header.begun)
        data = header.begun + self._buffer.view[:size]
        self._buffer.wipe(size)
        try:
            whole = proxy.parse(data)
            if whole is None:
                header.begun = bytearray(data)
        finally:
            wipe(data)
        taken = whole.size - before if whole else size
        header.connection.peer.recv_into(self._buffer.bytes, taken, TAKE)
        return whole

    def _arrived(self, connection: Connection, header: proxy.Header) -> None:
        self._headers.drop(connection)
        self._loop.forget(connection.peer.fileno())
        if header.ends:
            connection.client, connection.local = header.ends
        self._admit(connection)

    def _admit(self, connection: Connection) -> None:
        """Greet a client, unless it has too many connections or the rules deny it."""
        if not self._limits.enter(connection):
            self._ended(connection, REFUSED)
        elif self._lookups is None:
            self._greet(connection)
        else:
            self._limits.restart_timeout(connection)
            self._lookups.ask(Question(connection.number, connection.client.ip, AS_IT_IS_NOW), connection)
            self._limits.enforce()

    def _answered(self, connection: Connection, answer: Answer | None) -> None:
        """Handle the rules' verdict on a client."""
        if not answer:
            self._ended(connection, DISCONNECTED)
        elif answer.verdict.is_denied:
            self._ended(connection, REFUSED)
        else:
            connection.edition = answer.edition
            connection.settings = self._settings_of(answer.verdict.variables)
            self._greet(connection)
