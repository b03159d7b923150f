"""The spawner: the process that is as privileged as tcpserver, because the checker has to become the user.

It parses nothing but frames. It starts subprograms and reaps them, writes records and delivers events, all
in one loop that no subprogram, client, reader of descriptor 5 or sidecar can block. It exits when the
supervisor, the workers and the last session have ended.
"""

import os
import signal
import socket
import sys
from collections.abc import Mapping

from qmail_popup.listener.addresses import numeric
from qmail_popup.listener.ipc.control import Control
from qmail_popup.listener.ipc.counts import Column
from qmail_popup.listener.ipc.frames import (
    BAD_HEADER,
    DISCONNECTED,
    ERROR,
    NO_HEADER,
    QUIT,
    REFUSED,
    TIMEOUT,
    TLS_REQUIRED,
    Frame,
)
from qmail_popup.listener.options import NAME, Options
from qmail_popup.listener.process.loop import Deadlines, Loop
from qmail_popup.listener.process.output import Output
from qmail_popup.listener.process.throttled import Throttled
from qmail_popup.listener.spawner import spooler
from qmail_popup.listener.spawner.channel import Channel
from qmail_popup.listener.spawner.delivery import Deliveries, max_link
from qmail_popup.listener.spawner.logins import Logins
from qmail_popup.listener.spawner.rule_checks import RuleChecks
from qmail_popup.listener.spawner.session import Session
from qmail_popup.listener.spawner.spooler import Spooler
from qmail_popup.listener.variables import SettingsOf
from qmail_popup.settings import UNKNOWN
from qmail_popup.wire import wipe

STDERR = 2

_GOOD_ENDS = ("accepted", QUIT)
_HEADERS = {BAD_HEADER: DISCONNECTED, NO_HEADER: TIMEOUT}  # to the event's words
_BAD_STATUS = 1 << 8  # exit status 1 as a wait(2) status, as tcpserver logs it
_RECORD_SECONDS = 30  # for a stopped reader of descriptor 5, after all sessions have ended


class _Children:
    """Wakes the loop on SIGCHLD to reap subprograms."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins
        self._woken, self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._woken

    def ready(self, _events: int) -> None:
        os.read(self._woken, 256)
        self._logins.reap()


class Spawner:
    """The process's event loop and its handlers."""

    def __init__(  # noqa: PLR0913  its collaborators
        self,
        options: Options,
        settings_of: SettingsOf,
        environ: Mapping[bytes, bytes],
        *,
        control: socket.socket,
        column: Column,
        open_files: tuple[int, int],
        log: int | None,
        rules: socket.socket | None,
    ) -> None:
        """environ, open_files: inherited by subprograms; log: the records' descriptor, if any.

        rules: connects to the rules reader, if any
        """
        settings = settings_of.default
        self._options, self._settings, self._control = options, settings, control
        self._loop = loop = Loop()
        self._stderr: Output[None] = Output(loop, STDERR, lambda _: None, lambda _: None)
        self._records = Output(loop, log, self._recorded, self.log) if log is not None else None
        self._deliveries = self._mirror() if settings.spool else None
        self._logins = Logins(
            loop,
            settings_of,
            environ,
            limit=options.sessions,
            open_files=open_files,
            column=column,
            log=self.log,
            status=self._status,
            ended=self._ended,
        )
        self._checks = RuleChecks(loop, rules, self._logins.add, self.refuse) if rules else None
        self._log_no_header = Throttled(self.log)
        self._channels: set[Channel] = set()
        self._is_draining = False
        self._last_wait: Deadlines[Output[Session]] = Deadlines(_RECORD_SECONDS, Output.give_up_all)
        loop.timers.append(self._last_wait)
        children = _Children(self._logins)
        loop.watch(children.fileno(), children)
        Control(loop, control, self._connect, self._drain)

    def run(self) -> None:
        """Run until the supervisor, the workers and the last session have ended."""
        self._status(0)
        while not (self._is_draining and self._is_over()):
            self._loop.turn()

    def begin(self, frame: Frame) -> Session:
        """Handle a connection that has been greeted."""
        session = Session(frame)
        if self._deliveries is not None:
            session.link = self._deliveries.hello(session.hello())
        self._log_begin(session, "ok")
        return session

    def login(self, session: Session, peer: socket.SocketType) -> None:
        """Handle a login."""
        if self._checks is None:
            self._logins.add(session, peer)
        else:
            self._checks.add(session, peer)

    def refuse(self, session: Session, peer: socket.SocketType) -> None:
        """Close the connection of a client that the rules deny, or of one login more than may wait."""
        wipe(session.frame.secret)
        peer.close()
        session.ended = REFUSED
        self._log_begin(session, "deny")
        self._ended(session)

    def waiting(self, slot: int) -> int:
        """Return how many logins of a worker wait to run."""
        return self._logins.waiting[slot] + (self._checks.waiting[slot] if self._checks is not None else 0)

    def end(self, session: Session) -> None:
        """Handle the end of a session before login."""
        session.ended = session.frame.ended
        if session.ended == TLS_REQUIRED:
            session.write_record(b"Reject::STLS::Any", UNKNOWN)
        elif session.ended == REFUSED:
            self._log_begin(session, "deny")
        elif session.ended == ERROR:
            session.failure = "pipe"
        elif session.ended in _HEADERS:
            session.ended = _HEADERS[session.ended]
            self._log_header(session)
        self._ended(session)

    def cut_off(self, session: Session) -> None:
        """Handle a session whose worker has ended: without an event, the sidecar counts it as killed."""
        if session.link:
            session.link.close()
        self._log_end(session)

    def gone(self, channel: Channel) -> None:
        """Handle the end of a worker."""
        self._loop.forget(channel.peer.fileno())
        self._channels.discard(channel)

    def log(self, text: str) -> None:
        """Write a line to descriptor 2 as soon as it has room."""
        self._stderr.put(f"{NAME}: {text}\n".encode(), None)

    def _is_over(self) -> bool:
        if self._channels or self._logins or self._checks:
            return False
        if self._records and not self._last_wait:
            self._last_wait.set(self._records)
        return not self._records and not self._deliveries

    def _mirror(self) -> Deliveries:
        program = sys.argv[0]
        return Deliveries(
            self._loop,
            self._settings.sidecar,
            Spooler(self._loop, spooler.connect(), lambda peer: spooler.start(peer, self._settings, program)),
            max_link=max_link(self._options),
        )

    def _connect(self, slot: int, descriptors: list[int]) -> None:
        """Take a worker's channel and the pidfd of its process."""
        channel, process = descriptors
        peer = socket.socket(fileno=channel)
        limit = self._options.connections + self._options.sessions
        worker = Channel(
            self,
            peer,
            process=process,
            slot=slot,
            limit=limit,
            balancers=self._options.proxy_protocol,
            log=self.log,
        )
        self._channels.add(worker)
        self._loop.watch(channel, worker)

    def _drain(self) -> None:
        self._is_draining = True
        self._loop.forget(self._control.fileno())
        self._control.close()

    def _ended(self, session: Session) -> None:
        """Write the record of a session that has had its last reply; its event follows."""
        session.finished = session.clock()
        self._log_end(session)
        if session.record and self._records is not None:
            self._records.put(session.record, session)
        else:
            self._recorded(session)

    def _recorded(self, session: Session) -> None:
        """Deliver the event, after the record is written or dropped."""
        if self._deliveries is not None:
            self._deliveries.event(session.event(), session.link)

    def _status(self, running: int) -> None:
        if self._options.verbose:
            self.log(f"status: {running}/{self._options.sessions}")

    def _log_header(self, session: Session) -> None:
        """Log a balancer's missing or invalid PROXY header, but not for each of its connections."""
        self._log_begin(session, "deny")
        client = numeric(session.client.ip).decode()
        self._log_no_header(f"closed a connection from {client}: no valid PROXY header")

    def _log_begin(self, session: Session, verdict: str) -> None:
        if self._options.verbose:
            client, local = (numeric(end.ip).decode() for end in (session.client, session.local))
            host = self._settings.hostname.decode(errors="backslashreplace")
            ends = f"{host}:{local}:{session.local.port} :{client}::{session.client.port}"
            self.log(f"pid {session.number} from {client}")
            self.log(f"{verdict} {session.number} {ends}")

    def _log_end(self, session: Session) -> None:
        if self._options.verbose:
            self.log(f"end {session.number} status {0 if session.ended in _GOOD_ENDS else _BAD_STATUS}")
