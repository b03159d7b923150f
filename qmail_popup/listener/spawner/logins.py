"""Logins in the spawner: from a client's credentials to the subprogram's exit and the last reply.

Owns running subprograms, logins that wait because --sessions run already, and unsent replies. Never blocks,
neither on a subprogram nor on a client that does not read its reply.
"""

import os
import signal
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from qmail_popup import executable, protocol, reasons, stderr, subprogram
from qmail_popup.listener.ipc.counts import Column
from qmail_popup.listener.process import privileges
from qmail_popup.listener.process.loop import OUT, Loop, Timeouts
from qmail_popup.listener.process.throttled import Throttled
from qmail_popup.listener.spawner.session import Session
from qmail_popup.listener.variables import SettingsOf, for_subprogram
from qmail_popup.wire import wipe

_PATH = b"PATH"


class _Login(NamedTuple):
    """A login whose subprogram is running."""

    session: Session
    peer: socket.SocketType
    program: subprogram.Subprogram


class _Reply:
    """The unsent rest of a client's last reply."""

    __slots__ = ("_logins", "left", "peer", "session")

    def __init__(self, logins: "Logins", session: Session, peer: socket.SocketType, left: bytes) -> None:
        self._logins, self.session, self.peer, self.left = logins, session, peer, left

    def ready(self, _events: int) -> None:
        self._logins.send(self)


class Logins:
    """All logins in progress."""

    def __init__(  # noqa: PLR0913  its collaborators
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
        """limit: maximum number of subprograms; open_files: their limits; log: writes a line to descriptor 2.

        status: called with the number of running subprograms; ended: with each finished session
        """
        self._loop, self._settings_of, self._environ = loop, settings_of, dict(environ)
        self._limit, self._column, self._log = limit, column, log
        self._log_full = Throttled(log)
        self._status, self._session_ended = status, ended
        self._running: dict[int, _Login] = {}
        self._waiting: deque[tuple[Session, socket.SocketType]] = deque()
        self.waiting: defaultdict[int, int] = defaultdict(int)  # by worker slot
        self._replies: Timeouts[_Reply] = Timeouts(self._hang_up)
        self._sigmask = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # as inherited
        self._defaulted = _not_ignored()
        self._spawn = privileges.spawning(open_files)
        loop.timers.append(self._replies)

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting) + len(self._replies)

    def add(self, session: Session, peer: socket.SocketType) -> None:
        """Run the subprogram for a session, now or as soon as the limit allows."""
        if len(self._running) < self._limit:
            self._start(session, peer)
        else:
            self._log_full(f"logins wait, because --sessions allows {self._limit} subprograms at a time")
            self._column.enter(session.client.ip)
            self._waiting.append((session, peer))
            self.waiting[session.slot] += 1

    def reap(self) -> None:
        """Handle all subprograms that have exited, then start waiting logins."""
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
        """Send what fits of a reply; end the session once all of it is sent."""
        reply.left = _unsent(reply.peer, reply.left)
        if reply.left:
            self._await(reply)
        else:
            self._replies.drop(reply)
            self._hang_up(reply)

    def _start(self, session: Session, peer: socket.SocketType) -> None:
        """Start the subprogram and write the credentials to its descriptor 3."""
        settings = self._settings_of(session.rules)
        program = subprogram.start(
            settings.subprogram,
            self._environ | for_subprogram(session.rules) | session.variables(settings),
            network=peer.fileno(),
            sigmask=self._sigmask,
            defaulted=self._defaulted,
            spawn=_searching(self._spawn) if _PATH in session.rules else self._spawn,
            keep_stderr=settings.keep_stderr,
            clock=session.clock,
        )
        session.outcome, session.pid = program.outcome, program.pid
        program.hand_over(session.frame.name, session.frame.secret, session.timestamp(settings.hostname))
        wipe(session.frame.secret)
        if program.pid:
            self._running[program.pid] = _Login(session, peer, program)
            self._status(len(self._running))
        else:
            program.ended(None)
            self._answer(session, peer)

    def _answer(self, session: Session, peer: socket.SocketType) -> None:
        """Send the client the result of its login, unless it was accepted."""
        left = self._verdict(session)
        if left and (left := _unsent(peer, left)):
            reply = _Reply(self, session, peer, left)
            self._loop.watch(peer.fileno(), reply, OUT)
            self._await(reply)
        else:
            self._end(session, peer)

    def _await(self, reply: _Reply) -> None:
        """Wait for a client to read its reply; at most as many wait as subprograms may run."""
        self._replies.set(reply, self._settings_of(reply.session.rules).idle_timeout)
        if len(self._replies) > self._limit and (longest := self._replies.longest()):
            self._replies.drop(longest[0])
            self._hang_up(longest[0])

    def _verdict(self, session: Session) -> bytes:
        """Decide how the session ended; return the reply to the client."""
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

    def _hang_up(self, reply: _Reply) -> None:
        """Stop waiting for a client, and end the session."""
        self._loop.forget(reply.peer.fileno())
        self._end(reply.session, reply.peer)

    def _end(self, session: Session, peer: socket.SocketType) -> None:
        """Close the connection and end the session."""
        peer.close()
        self._session_ended(session)


def _searching(spawn: Callable[..., int]) -> Callable[..., int]:
    """Return `spawn` searching the subprogram's PATH, as the popup does: it searches that of this process."""
    return lambda program, argv, environ, **options: spawn(
        executable.find(program, environ[_PATH])[0], argv, environ, **options
    )


def _not_ignored() -> tuple[int, ...]:
    """Return the signals that a subprogram starts with at their defaults.

    posix_spawn(3) does that with any signal that is not ignored, but asks the kernel first about each that is
    not in its list: 62 system calls, which take 5 % of the time of a small subprogram.
    """
    return tuple(
        int(number)
        for number in signal.valid_signals()
        if number in subprogram.DEFAULTED or signal.getsignal(number) != signal.SIG_IGN
    )


def _unsent(peer: socket.SocketType, left: bytes) -> bytes:
    """Send without blocking; return what is left, nothing if sending has failed."""
    try:
        while left:
            left = left[peer.send(left, socket.MSG_DONTWAIT) :]
    except BlockingIOError:
        return left
    except OSError:
        pass
    return b""
