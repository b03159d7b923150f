"""The reader of rules: a process that is asked who may connect, and that alone waits for a file system.

As privileged as the spawner is: rules may be for root's eyes only. It parses what root has compiled, and of
workers it takes questions of a fixed length. A worker learns what it needs before a login, the spawner all.
One answer at a time: who does not take it is asked for nothing more.
"""

import socket
from collections.abc import Sequence
from typing import NamedTuple

from qmail_popup.listener.control import Control
from qmail_popup.listener.lookups import AGAIN, AS_IT_IS_NOW, Answer, read_question, write_answer
from qmail_popup.listener.loop import IN, OUT, Loop
from qmail_popup.listener.options import NAME
from qmail_popup.listener.output import Output
from qmail_popup.listener.rules import ALLOWED, Verdict
from qmail_popup.listener.rules_file import RulesFile
from qmail_popup.listener.variables import before_login

_STDERR = 2
_MAX_QUESTION = 64  # bytes, more than it has


class Line(NamedTuple):
    """A connection between the reader and who asks."""

    reader: socket.socket
    asker: socket.socket


def lines(count: int) -> list[Line]:
    """Make as many, before anybody is forked: whoever is started again finds its own."""
    return [Line(*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in range(count)]


class _Asker:
    """One who asks."""

    def __init__(self, reader: "Reader", peer: socket.socket, *, is_spawner: bool) -> None:
        self._reader, self.peer, self.is_spawner = reader, peer, is_spawner
        self.unsent = b""

    def ready(self, events: int) -> None:
        if events & OUT:
            self._reader.send(self, self.unsent)
        else:
            self._reader.take(self)


class Reader:
    """All that the process does."""

    def __init__(self, path: bytes, control: socket.socket, askers: Sequence[socket.socket]) -> None:
        """askers: the spawner's, then the workers'."""
        self._loop, self._control = Loop(), control
        self._stderr: Output[None] = Output(self._loop, _STDERR, lambda _: None, lambda _: None)
        self._file = RulesFile(path, self._log)
        self._askers = {
            _Asker(self, peer, is_spawner=number == 0): peer.fileno() for number, peer in enumerate(askers)
        }
        for asker, fd in self._askers.items():
            self._loop.watch(fd, asker)
        self._loop.watch(control.fileno(), Control(control, lambda _slot, _fds: None, self._drain))
        self._file.refresh()

    def run(self) -> None:
        """Answer until nobody can ask."""
        for asker in [*self._askers]:
            self._answer(asker, Answer(AGAIN, self._file.edition, ALLOWED))
        while self._askers:
            self._loop.turn()

    def take(self, asker: _Asker) -> None:
        """Answer one question."""
        try:
            message = asker.peer.recv(_MAX_QUESTION, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._loop.forget(self._askers.pop(asker))
            asker.peer.close()
            return
        if question := read_question(message):
            if question.edition == AS_IT_IS_NOW:
                self._file.refresh()
            verdict = self._file.of(question.ip, question.edition)
            self._answer(asker, Answer(question.number, self._file.edition, verdict))

    def send(self, asker: _Asker, message: bytes) -> None:
        """Send an answer, or wait for room and take no question meanwhile."""
        was_waiting = bool(asker.unsent)
        try:
            asker.peer.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            asker.unsent = b""
        except BlockingIOError:
            asker.unsent = message
        except OSError:
            asker.unsent = b""  # it has ended, which is read next
        if was_waiting != bool(asker.unsent):
            self._loop.change(self._askers[asker], OUT if asker.unsent else IN)

    def _answer(self, asker: _Asker, answer: Answer) -> None:
        number, edition, verdict = answer
        if not asker.is_spawner:
            verdict = Verdict(verdict.is_denied, before_login(verdict.variables))
        self.send(asker, write_answer(Answer(number, edition, verdict)))

    def _log(self, text: str) -> None:
        self._stderr.put(f"{NAME}: {text}\n".encode(errors="backslashreplace"), None)

    def _drain(self) -> None:
        """Take the end of the supervisor, or of its wish; who asks still has an answer."""
        self._loop.forget(self._control.fileno())
        self._control.close()
