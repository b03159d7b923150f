"""Logins in the spawner: from a client and its credentials to the subprogram's end and the last reply.

Owns who runs, who waits for a place, and what is still to be said to whom. Never waits: neither for a
subprogram nor for a client that takes no reply.
"""

import os
import resource
import signal
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from qmail_popup import protocol, reasons, stderr, subprogram
from qmail_popup.listener.ipc.census import Column
from qmail_popup.listener.process.loop import OUT, Loop, Timeouts
from qmail_popup.listener.process.throttled import Throttled
from qmail_popup.listener.spawner.session import Session
from qmail_popup.listener.variables import SettingsOf, for_subprogram
from qmail_popup.wire import wipe


class _Login(NamedTuple):
    """One whose subprogram runs."""

    session: Session
    peer: socket.socket
    program: subprogram.Subprogram


class _Reply:
    """What a client has not taken yet of its last reply."""

    __slots__ = ("_logins", "left", "peer", "session")

    def __init__(self, logins: "Logins", session: Session, peer: socket.socket, left: bytes) -> None:
        self._logins, self.session, self.peer, self.left = logins, session, peer, left

    def ready(self, _events: int) -> None:
        self._logins.send(self)


class Logins:
    """All that are under way."""

    def __init__(  # noqa: PLR0913  the parts that it is given
        self,
        loop: Loop,
        settings_of: SettingsOf,
        environ: Mapping[bytes, bytes],
        *,
        limit: int,
        open_files: tuple[int, int],
        column: Column,
        log: Callable[[str], None],
        status: Callable[[int], None],
        ended: Callable[[Session], None],
    ) -> None:
        """limit: of subprograms; open_files: their limits; log: writes a line to descriptor 2.

        status: called with their number; ended: with a session that is over
        """
        self._loop, self._settings_of, self._environ = loop, settings_of, environ
        self._limit, self._open_files, self._column, self._log = limit, open_files, column, log
        self._log_full = Throttled(log)
        self._status, self._session_ended = status, ended
        self._running: dict[int, _Login] = {}
        self._waiting: deque[tuple[Session, socket.socket]] = deque()
        self.waiting: defaultdict[int, int] = defaultdict(int)  # by the slot of their worker
        self._replies: Timeouts[_Reply] = Timeouts(self._hang_up)
        self._sigmask = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # as it was inherited
        loop.timers.append(self._replies)

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting) + len(self._replies)

    def add(self, session: Session, peer: socket.socket) -> None:
        """Run the subprogram for a session, now or as soon as there is a place."""
        if len(self._running) < self._limit:
            self._start(session, peer)
        else:
            self._log_full(f"logins wait, because --sessions allows {self._limit} subprograms at a time")
            self._column.enter(session.client.ip)
            self._waiting.append((session, peer))
            self.waiting[session.slot] += 1

    def reap(self) -> None:
        """See to all subprograms that have ended."""
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if login := self._running.pop(pid, None):
                login.program.ended(status)
                self._status(len(self._running))
                self._answer(login.session, login.peer)
        while self._waiting and len(self._running) < self._limit:
            session, peer = self._waiting.popleft()
            self.waiting[session.slot] -= 1
            self._column.leave(session.client.ip)
            self._start(session, peer)

    def send(self, reply: _Reply) -> None:
        """Send what a client takes of its reply; the session has ended where that is all."""
        if self._is_sent(reply):
            self._replies.drop(reply)
            self._hang_up(reply)
        else:
            self._await(reply)

    def _start(self, session: Session, peer: socket.socket) -> None:
        """Start the subprogram, and hand over what it is to read on descriptor 3."""
        settings = self._settings_of(session.rules)
        program = subprogram.start(
            settings.subprogram,
            {**self._environ, **for_subprogram(session.rules), **session.variables(settings)},
            network=peer.fileno(),
            sigmask=self._sigmask,
            keep_stderr=settings.keep_stderr,
            clock=session.clock,
        )
        session.outcome, session.pid = program.outcome, program.pid
        if program.pid and self._open_files[0] != self._open_files[1]:
            self._limit_files(program.pid)
        program.hand_over(session.frame.name, session.frame.secret, session.timestamp(settings.hostname))
        wipe(session.frame.secret)
        if program.pid:
            self._running[program.pid] = _Login(session, peer, program)
            self._status(len(self._running))
        else:
            program.ended(None)
            self._answer(session, peer)

    def _limit_files(self, pid: int) -> None:
        """Give a subprogram the limits of descriptors that we began with, before its credentials."""
        with suppress(OSError):  # it has ended already
            resource.prlimit(pid, resource.RLIMIT_NOFILE, self._open_files)

    def _answer(self, session: Session, peer: socket.socket) -> None:
        """Tell the client how its login ended, unless the subprogram has spoken."""
        reply = _Reply(self, session, peer, self._verdict(session))
        if self._is_sent(reply):
            self._hang_up(reply)
        else:
            self._loop.watch(peer.fileno(), reply, OUT)
            self._await(reply)

    def _await(self, reply: _Reply) -> None:
        """Wait for a client to take its reply; there are as many of them as there may be subprograms."""
        self._replies.set(reply, self._settings_of(reply.session.rules).idle_timeout)
        if len(self._replies) > self._limit and (longest := self._replies.longest()):
            self._replies.drop(longest[0])
            self._hang_up(longest[0])

    def _verdict(self, session: Session) -> bytes:
        """Decide how the session ended; what is to be said to the client."""
        outcome, settings = session.outcome, self._settings_of(session.rules)
        if outcome.error:
            self._cannot("start" if outcome.failure else "run", outcome.error)
        if outcome.failure:
            session.ended, session.failure = "error", outcome.failure
            return protocol.unable(outcome.failure, resp_codes=settings.resp_codes)
        if outcome.status == 0:
            session.ended = "accepted"
            session.write_record(b"Accept::AUTH::%s" % session.frame.method, session.frame.name)
            return b""
        session.reason, _mistake = reasons.of(outcome, session.credentials, settings)
        session.ended = "crashed" if session.reason == reasons.CRASHED else "rejected"
        session.write_record(b"Reject::AUTH::%s" % session.frame.method, session.frame.name)
        code = reasons.RESPONSE_CODES[session.reason] if settings.resp_codes else b""
        return protocol.refusal(outcome.status, code)

    def _cannot(self, what: str, error: int) -> None:
        program = stderr.printable(self._settings_of.default.subprogram[0]).decode()
        self._log(f"cannot {what} {program}: {os.strerror(error)}")

    def _is_sent(self, reply: _Reply) -> bool:
        """Send without waiting; whether all is sent, or never will be."""
        try:
            while reply.left:
                reply.left = reply.left[reply.peer.send(reply.left, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _hang_up(self, reply: _Reply) -> None:
        """Let the client go."""
        self._loop.forget(reply.peer.fileno())
        reply.peer.close()
        self._session_ended(reply.session)
