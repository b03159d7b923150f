"""The rules reader: the process that answers lookups, and the only one that waits for the file system.

It is as privileged as the spawner, because rules may be readable by root only. It parses a file that root
compiled, and accepts only fixed-length questions from workers. A worker is sent only the variables it needs
before a login, the spawner all of them. A question about a new connection is answered after a thread has
checked the file and read it if it changed, which takes seconds with 100,000 rules; one about a login at once,
by the edition that admitted the client. Queues are limited: the reader stops reading from a process that does
not take its answers.
"""

import socket
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from qmail_popup.listener.ipc.control import Control
from qmail_popup.listener.options import NAME
from qmail_popup.listener.process.loop import IN, OUT, Deadlines, Loop
from qmail_popup.listener.process.output import Output
from qmail_popup.listener.rules.background import Background
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
_MAX_QUESTION = 64  # bytes; a valid one is shorter
_MAX_WAITING = 64  # questions and answers of one asker
_PAUSE_SECONDS = 0.1  # if the kernel has no memory for an answer


class Line(NamedTuple):
    """A connection between the reader and a worker or the spawner."""

    reader: socket.socket
    asker: socket.socket


def lines(count: int) -> list[Line]:
    """Create `count` connections before the first fork, so that a restarted process finds its own."""
    return [Line(*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in range(count)]


class _Asker:
    """A worker or the spawner. waiting: number of its pending questions; unsent: answers."""

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
        """Return the events to watch for."""
        room = self.waiting + len(self.unsent) < _MAX_WAITING
        return IN * room | OUT * bool(self.unsent)


class Reader:
    """The process's event loop and its handlers."""

    def __init__(self, path: bytes, control: socket.socket, askers: Sequence[socket.socket]) -> None:
        """askers: the spawner's, then the workers'."""
        self._loop, self._control = Loop(), control
        self._stderr: Output[None] = Output(self._loop, _STDERR, lambda _: None, lambda _: None)
        self._file = RulesFile(path, self._log)
        self._refresh: Background[Content | None] = Background(self._loop, self._file.look, self._found)
        self._waiting: list[tuple[_Asker, Question]] = []  # for the next check of the file
        self._looked_for: list[tuple[_Asker, Question]] = []  # for the check in progress
        self._pause: Deadlines[_Asker] = Deadlines(_PAUSE_SECONDS, self.flush)
        self._loop.timers.append(self._pause)
        self._askers = {
            _Asker(self, peer, is_spawner=number == 0): peer.fileno() for number, peer in enumerate(askers)
        }
        for asker, fd in self._askers.items():
            self._loop.watch(fd, asker)
        Control(self._loop, control, lambda _slot, _fds: None, self._drain)
        self._file.refresh()

    def run(self) -> None:
        """Answer until all askers have disconnected."""
        for asker in [*self._askers]:
            self._send(asker, Answer(AGAIN, self._file.edition, ALLOWED))
        while self._askers:
            self._loop.turn()

    def take(self, asker: _Asker) -> None:
        """Receive one question."""
        try:
            message = asker.peer.recv(_MAX_QUESTION, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._loop.forget(self._askers.pop(asker))
            self._pause.drop(asker)
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
        """Send answers while there is room."""
        try:
            while asker.unsent:
                asker.peer.send(asker.unsent[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                asker.unsent.popleft()
        except BlockingIOError:
            pass
        except ConnectionError:
            asker.unsent.clear()  # it has exited; end of file follows
        except OSError:  # although there is room
            self._pause.set(asker)
        self._watch(asker)

    def _look(self) -> None:
        """Check the file for the pending questions, unless a check is in progress."""
        if self._waiting and not self._looked_for:
            self._waiting, self._looked_for = [], self._waiting
            self._refresh.run()

    def _found(self, content: Content | None) -> None:
        """Answer the questions that this check was for."""
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
        """Read its questions only while its queues are below the limit."""
        wanted = asker.wanted() & (IN if asker in self._pause else IN | OUT)
        if wanted != asker.events:
            asker.events = wanted
            self._loop.change(self._askers[asker], wanted)

    def _log(self, text: str) -> None:
        self._stderr.put(f"{NAME}: {text}\n".encode(errors="backslashreplace"), None)

    def _drain(self) -> None:
        """Handle end of file from the supervisor; open connections are still answered."""
        self._loop.forget(self._control.fileno())
        self._control.close()
