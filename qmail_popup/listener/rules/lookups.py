"""Looking a client up in the rules: a question to the process that reads them, and its answer later.

Nobody waits: what an answer is for is kept by the session's number. A reader that was started again says so,
and is asked again.
"""

import socket
import struct
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from qmail_popup.listener.process.loop import IN, OUT, Loop
from qmail_popup.listener.rules.rules import Verdict

MAX_MESSAGE = 1 << 16  # bytes, with all of a rule's variables
_QUESTION, _ANSWER = struct.Struct("!Q16sQ"), struct.Struct("!QQB")
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

AS_IT_IS_NOW = 0  # the edition that is asked for
AGAIN = 0  # the number in an answer to no question: all are to be asked again

_Item = TypeVar("_Item")


class Question(NamedTuple):
    """What a client's address is looked up for.

    edition: of the rules, as an answer had it, or AS_IT_IS_NOW
    """

    number: int
    ip: bytes
    edition: int


class Answer(NamedTuple):
    """What was found, and in which edition of the rules."""

    number: int
    edition: int
    verdict: Verdict


def read_question(message: bytes) -> Question | None:
    """Read a question; None where it is none: a worker may send anything."""
    return Question(*_QUESTION.unpack(message)) if len(message) == _QUESTION.size else None


def write_answer(answer: Answer) -> bytes:
    """Return an answer as it travels."""
    number, edition, verdict = answer
    variables = b"".join(b"%s=%s\0" % pair for pair in verdict.variables.items())
    return _ANSWER.pack(number, edition, verdict.is_denied) + variables


def read_answer(message: bytes) -> Answer:
    """Read an answer of the reader's, who is believed."""
    number, edition, is_denied = _ANSWER.unpack_from(message)
    pairs = [entry.partition(b"=") for entry in message[_ANSWER.size :].split(b"\0")[:-1]]
    variables = {name: value for name, _, value in pairs}
    return Answer(number, edition, Verdict(is_denied=bool(is_denied), variables=variables))


class Lookups(Generic[_Item]):
    """All that are under way in one process."""

    def __init__(
        self, loop: Loop, channel: socket.socket, answered: Callable[[_Item, Answer | None], None]
    ) -> None:
        """Ask over `channel`; answered: called with what an answer is for, None where nobody answers."""
        self._loop, self._channel, self._answered = loop, channel, answered
        self._open: dict[int, tuple[Question, _Item]] = {}
        self._unsent: dict[int, None] = {}  # numbers, in their order
        self._has_ended = False
        loop.watch(channel.fileno(), self)

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, question: Question, item: _Item) -> None:
        """Have `item` answered."""
        if self._has_ended:
            self._answered(item, None)
            return
        self._open[question.number] = (question, item)
        if self._unsent or not self._is_sent(question):
            self._wait([question.number])

    def forget(self, number: int) -> None:
        """Wait for an answer no more."""
        self._open.pop(number, None)
        self._unsent.pop(number, None)

    def ready(self, events: int) -> None:
        """Send what is still to be asked, and take an answer."""
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
            self._answered(found[1], answer)

    def _wait(self, numbers: Iterable[int]) -> None:
        """Ask as soon as there is room."""
        self._unsent.update(dict.fromkeys(numbers))
        self._loop.change(self._channel.fileno(), IN | OUT)

    def _ask_on(self) -> None:
        while self._unsent:
            number = next(iter(self._unsent))
            if not self._is_sent(self._open[number][0]):
                return
            del self._unsent[number]
        self._loop.change(self._channel.fileno(), IN)

    def _is_sent(self, question: Question) -> bool:
        """Send one; one that can never be sent is answered when the end is read."""
        try:
            self._channel.send(_QUESTION.pack(*question), _FLAGS)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _end(self) -> None:
        """Answer all with nothing, now and from now on: the reader has ended, and nobody starts another."""
        self._has_ended = True
        self._loop.closing(self._channel.fileno())
        self._channel.close()
        left = [item for _, item in self._open.values()]
        self._open.clear()
        self._unsent.clear()
        for item in left:
            self._answered(item, None)
