"""A worker's reports to the spawner about its connections."""

import socket
import time

from qmail_popup.listener.ipc.frames import (
    BAD_HEADER,
    BEGIN,
    END,
    ENDED,
    LOGIN,
    METHODS,
    NO_HEADER,
    REFUSED,
    TLS_REQUIRED,
    Frame,
)
from qmail_popup.listener.worker.connection import Connection
from qmail_popup.listener.worker.outbox import Outbox

_ALWAYS_TOLD = (TLS_REQUIRED, BAD_HEADER, NO_HEADER)  # the spawner logs or records these
_NOT_LET_IN = (REFUSED, BAD_HEADER, NO_HEADER)


class Reports:
    """One worker's reports."""

    def __init__(self, outbox: Outbox, *, is_tracked: bool) -> None:
        """is_tracked: whether to report connections that do not log in."""
        self._outbox, self.is_tracked = outbox, is_tracked

    def begin(self, connection: Connection) -> None:
        """Report a connection."""
        if self.is_tracked:
            connection.is_reported = True
            self._outbox.put(_frame(connection, BEGIN))

    def log_in(self, connection: Connection, peer: socket.SocketType) -> None:
        """Report a login, and pass on the subprogram's socket."""
        login = connection.state.credentials
        method, now = METHODS.index(login.method), time.monotonic_ns()
        self._outbox.put(_frame(connection, LOGIN, method, now, name=login.name, secret=login.secret), peer)

    def end(self, connection: Connection, ended: str) -> None:
        """Report how a session ended; first report its beginning if it ended before the greeting."""
        if not connection.is_reported and ended not in _NOT_LET_IN:
            self.begin(connection)
        if self.is_tracked or ended in _ALWAYS_TOLD:
            self._outbox.put(_frame(connection, END, ENDED.index(ended), time.monotonic_ns()))


def _frame(  # noqa: PLR0913  fields that not every frame has
    connection: Connection,
    kind: int,
    word: int = 0,
    reached: int = 0,
    *,
    name: bytes = b"",
    secret: bytearray | memoryview | None = None,
) -> Frame:
    return Frame(
        kind,
        word,
        connection.number,
        connection.identity[:16],
        connection.identity[16:],
        connection.origin,
        connection.start,
        connection.greeted,
        reached,
        connection.edition,
        connection.tls,
        connection.suite,
        *connection.client,
        *connection.local,
        name,
        bytearray() if secret is None else secret,
    )
