"""Asynchronous lookups of clients in the rules: a question to the rules reader, and its answer later.

Pending lookups are kept by session number. A restarted reader announces itself, and gets all open questions
again.
"""

import socket
import struct
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from qmail_popup.listener.process.loop import IN, OUT, Deadlines, Loop
from qmail_popup.listener.rules.rules import Verdict

MAX_MESSAGE = 1 << 16  # bytes, including all of a rule's variables
_QUESTION, _ANSWER = struct.Struct("!Q16sQ"), struct.Struct("!QQB")
_PAUSE_SECONDS = 0.1  # if the kernel has no memory for a question
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

AS_IT_IS_NOW = 0  # as a question's edition: the current one
AGAIN = 0  # as an answer's number: the reader has restarted, send all questions again

_Item = TypeVar("_Item")


class Question(NamedTuple):
    """A request to look up a client's address.

    edition: of the rules, from an earlier answer, or AS_IT_IS_NOW
    """

    number: int
    ip: bytes
    edition: int


class Answer(NamedTuple):
    """A verdict, and the current edition of the rules."""

    number: int
    edition: int
    verdict: Verdict


def read_question(message: bytes) -> Question | None:
    """Parse a question; None if malformed, because a compromised worker may send anything."""
    return Question(*_QUESTION.unpack(message)) if len(message) == _QUESTION.size else None


def write_answer(answer: Answer) -> bytes:
    """Return an answer as sent over the socket."""
    number, edition, verdict = answer
    variables = b"".join(b"%s=%s\0" % pair for pair in verdict.variables.items())
    return _ANSWER.pack(number, edition, verdict.is_denied) + variables


def read_answer(message: bytes) -> Answer:
    """Parse an answer. The reader is trusted, so this is not validated."""
    number, edition, is_denied = _ANSWER.unpack_from(message)
    pairs = [entry.partition(b"=") for entry in message[_ANSWER.size :].split(b"\0")[:-1]]
    variables = {name: value for name, _, value in pairs}
    return Answer(number, edition, Verdict(is_denied=bool(is_denied), variables=variables))


class Lookups(Generic[_Item]):
    """The pending lookups of one process."""

    def __init__(
        self, loop: Loop, channel: socket.socket, answered: Callable[[_Item, Answer | None], None]
    ) -> None:
        """Ask over `channel`. answered: called with the item and its answer, None if the reader has ended."""
        self._loop, self._channel, self._answered = loop, channel, answered
        self._open: dict[int, tuple[Question, _Item]] = {}
        self._unsent: dict[int, None] = {}  # numbers, in order
        self._has_ended = False
        self._pause: Deadlines[None] = Deadlines(_PAUSE_SECONDS, lambda _: self._watch_on())
        loop.timers.append(self._pause)
        loop.watch(channel.fileno(), self)

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, question: Question, item: _Item) -> None:
        """Send a question; `item` is passed to `answered`."""
        if self._has_ended:
            self._answered(item, None)
            return
        self._open[question.number] = (question, item)
        if self._unsent or not self._is_sent(question):
            self._wait([question.number])

    def forget(self, number: int) -> None:
        """Drop a question."""
        self._open.pop(number, None)
        self._unsent.pop(number, None)

    def ready(self, events: int) -> None:
        """Send unsent questions, and receive an answer."""
        if events & OUT:
            self._ask_on()
        try:
            message = self._channel.recv(MAX_MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message:
            self._take(read_answer(message))
        else:
            self._end()

    def _take(self, answer: Answer) -> None:
        if answer.number == AGAIN:
            self._wait(self._open)
        elif found := self._open.pop(answer.number, None):
            self._unsent.pop(answer.number, None)  # asked again, but the first question was still there
            self._answered(found[1], answer)

    def _wait(self, numbers: Iterable[int]) -> None:
        """Send these as soon as there is room."""
        self._unsent.update(dict.fromkeys(numbers))
        self._watch_on()

    def _watch_on(self) -> None:
        wanted = IN | OUT if self._unsent and not self._pause else IN
        self._loop.change(self._channel.fileno(), wanted)

    def _ask_on(self) -> None:
        while self._unsent:
            number = next(iter(self._unsent))
            if not self._is_sent(self._open[number][0]):
                break
            del self._unsent[number]
        self._watch_on()

    def _is_sent(self, question: Question) -> bool:
        """Send a question if there is room. If the reader has ended, reading end of file answers it."""
        try:
            self._channel.send(_QUESTION.pack(*question), _FLAGS)
        except BlockingIOError:
            return False
        except ConnectionError:
            pass
        except OSError:  # although there is room
            self._pause.set(None)
            return False
        return True

    def _end(self) -> None:
        """Answer all with None, now and later: the reader has ended and will not be restarted."""
        self._has_ended = True
        self._loop.closing(self._channel.fileno())
        self._channel.close()
        self._pause.drop(None)
        left = [item for _, item in self._open.values()]
        self._open.clear()
        self._unsent.clear()
        for item in left:
            self._answered(item, None)
