"""The reader of rules: a process that is asked who may connect, and that alone waits for a file system.

As privileged as the spawner is: rules may be for root's eyes only. It parses what root has compiled, and of
workers it takes questions of a fixed length. A worker learns what it needs before a login, the spawner all.
Who connects is answered once the file has been looked at, which a thread does; who logs in at once, by the
edition by which he was let in. What waits is limited: who takes no answers is asked for nothing more.
"""

import socket
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from qmail_popup.listener.ipc.control import Control
from qmail_popup.listener.options import NAME
from qmail_popup.listener.process.loop import IN, OUT, Loop
from qmail_popup.listener.process.output import Output
from qmail_popup.listener.rules.looker import Looker
from qmail_popup.listener.rules.lookups import (
    AGAIN,
    AS_IT_IS_NOW,
    Answer,
    Question,
    read_question,
    write_answer,
)
from qmail_popup.listener.rules.rules import ALLOWED, Verdict
from qmail_popup.listener.rules.rules_file import Content, RulesFile
from qmail_popup.listener.variables import before_login

_STDERR = 2
_MAX_QUESTION = 64  # bytes, more than it has
_MAX_WAITING = 64  # questions and answers of one who asks


class Line(NamedTuple):
    """A connection between the reader and who asks."""

    reader: socket.socket
    asker: socket.socket


def lines(count: int) -> list[Line]:
    """Make as many, before anybody is forked: whoever is started again finds its own."""
    return [Line(*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in range(count)]


class _Asker:
    """One who asks. waiting: how many of its questions do; unsent: answers."""

    def __init__(self, reader: "Reader", peer: socket.socket, *, is_spawner: bool) -> None:
        self._reader, self.peer, self.is_spawner = reader, peer, is_spawner
        self.waiting, self.events = 0, IN
        self.unsent: deque[bytes] = deque()

    def ready(self, events: int) -> None:
        if events & OUT:
            self._reader.flush(self)
        else:
            self._reader.take(self)

    def wanted(self) -> int:
        """Return what it is to be watched for."""
        room = self.waiting + len(self.unsent) < _MAX_WAITING
        return IN * room | OUT * bool(self.unsent)


class Reader:
    """All that the process does."""

    def __init__(self, path: bytes, control: socket.socket, askers: Sequence[socket.socket]) -> None:
        """askers: the spawner's, then the workers'."""
        self._loop, self._control = Loop(), control
        self._stderr: Output[None] = Output(self._loop, _STDERR, lambda _: None, lambda _: None)
        self._file = RulesFile(path, self._log)
        self._looker: Looker[Content | None] = Looker(self._loop, self._file.look, self._found)
        self._waiting: list[tuple[_Asker, Question]] = []  # for the next look
        self._looked_for: list[tuple[_Asker, Question]] = []  # for the one that is under way
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
            self._send(asker, Answer(AGAIN, self._file.edition, ALLOWED))
        while self._askers:
            self._loop.turn()

    def take(self, asker: _Asker) -> None:
        """Take one question."""
        try:
            message = asker.peer.recv(_MAX_QUESTION, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._loop.forget(self._askers.pop(asker))
            asker.peer.close()
        elif question := read_question(message):
            if question.edition == AS_IT_IS_NOW:
                asker.waiting += 1
                self._waiting.append((asker, question))
                self._look()
                self._watch(asker)
            else:
                self._answer(asker, question)

    def flush(self, asker: _Asker) -> None:
        """Send the answers that find room."""
        try:
            while asker.unsent:
                asker.peer.send(asker.unsent[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                asker.unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:
            asker.unsent.clear()  # it has ended, which is read next
        self._watch(asker)

    def _look(self) -> None:
        """Have the file looked at for those who wait, unless it is being looked at for others."""
        if self._waiting and not self._looked_for:
            self._waiting, self._looked_for = [], self._waiting
            self._looker.ask()

    def _found(self, content: Content | None) -> None:
        """Answer those for whom the file was looked at."""
        self._file.take(content)
        answered, self._looked_for = self._looked_for, []
        for asker, question in answered:
            asker.waiting -= 1
            if asker in self._askers:
                self._answer(asker, question)
        self._look()

    def _answer(self, asker: _Asker, question: Question) -> None:
        verdict = self._file.of(question.ip, question.edition)
        if not asker.is_spawner:
            verdict = Verdict(verdict.is_denied, before_login(verdict.variables))
        self._send(asker, Answer(question.number, self._file.edition, verdict))

    def _send(self, asker: _Asker, answer: Answer) -> None:
        asker.unsent.append(write_answer(answer))
        self.flush(asker)

    def _watch(self, asker: _Asker) -> None:
        """Take its questions as long as not too much of it waits."""
        if asker.wanted() != asker.events:
            asker.events = asker.wanted()
            self._loop.change(self._askers[asker], asker.events)

    def _log(self, text: str) -> None:
        self._stderr.put(f"{NAME}: {text}\n".encode(errors="backslashreplace"), None)

    def _drain(self) -> None:
        """Take the end of the supervisor, or of its wish; who asks still has an answer."""
        self._loop.forget(self._control.fileno())
        self._control.close()
