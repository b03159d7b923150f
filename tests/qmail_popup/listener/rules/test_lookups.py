"""Questions to the reader of rules: what travels, what waits, and what becomes of it where nobody answers."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail_popup.listener.process.loop import Deadlines, Loop
from qmail_popup.listener.rules.lookups import (
    AGAIN,
    MAX_MESSAGE,
    Answer,
    Lookups,
    Question,
    read_answer,
    read_question,
    write_answer,
)
from qmail_popup.listener.rules.rules import ALLOWED, DENIED, MAX_RULE, Verdict
from tests.support.unserved import give_up_in_time

_BYTES = st.binary(max_size=9).map(lambda drawn: drawn.replace(b"\0", b"").replace(b"=", b""))


@given(st.integers(0, 2**64 - 1), st.booleans(), st.dictionaries(_BYTES, _BYTES))
def test_an_answer_is_read_back(number: int, is_denied: bool, variables: dict[bytes, bytes]) -> None:  # noqa: FBT001  hypothesis draws it
    """All of it, whatever stands in it."""
    answer = Answer(number, 7, Verdict(is_denied=is_denied, variables=variables))
    assert answer == read_answer(write_answer(answer))


class Asking:
    """Lookups, and the reader's end."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.reader, self.asker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.reader.settimeout(30)
        self._now: Deadlines[int] = Deadlines(0, lambda _: None)
        self.loop.timers.append(self._now)
        self.answered: list[tuple[str, Answer | None]] = []
        self.lookups: Lookups[str] = Lookups(self.loop, self.asker, lambda *told: self.answered.append(told))

    def turn(self) -> None:
        """Have done what can be done now."""
        self._now.set(0)
        self.loop.turn()

    def questions(self, count: int) -> list[int]:
        """Take questions, and return their numbers."""
        taken = [read_question(self.reader.recv(100)) for _ in range(count)]
        return [question.number for question in taken if question]


@pytest.fixture
def asking() -> Iterator[Asking]:
    """Return lookups that a test answers."""
    made = Asking()
    yield made
    made.reader.close()
    made.asker.close()


def ask(asking: Asking, *numbers: int) -> None:
    """Ask for items that are called as their numbers."""
    for number in numbers:
        asking.lookups.ask(Question(number, bytes(16), 0), str(number))


def test_answers_in_any_order(asking: Asking) -> None:
    """Each finds what it is for; one that nobody waits for is nothing."""
    ask(asking, 1, 2, 3)
    asking.lookups.forget(2)
    assert [1, 2, 3] == asking.questions(3)
    answers = [Answer(3, 9, DENIED), Answer(2, 9, ALLOWED), Answer(1, 9, ALLOWED), Answer(1, 9, DENIED)]
    for answer in answers:
        asking.reader.send(write_answer(answer))
        asking.turn()
    assert [("3", answers[0]), ("1", answers[2])] == asking.answered
    assert 0 == len(asking.lookups)


def test_a_reader_that_was_started_again(asking: Asking) -> None:
    """It is asked again for all that it has not answered."""
    ask(asking, 1, 2)
    assert [1, 2] == asking.questions(2)
    asking.reader.send(write_answer(Answer(AGAIN, 9, ALLOWED)))
    asking.turn()
    asking.turn()
    assert [1, 2] == asking.questions(2)
    assert [] == asking.answered


def test_a_reader_that_was_started_again_behind_a_full_channel(asking: Asking) -> None:
    """It answers what the former one left in the channel; what is answered need not be asked again."""
    numbers = range(1, 1001)
    ask(asking, *numbers)
    asking.reader.send(write_answer(Answer(AGAIN, 9, ALLOWED)))
    asking.turn()
    while asking.lookups:
        for number in asking.questions(1):
            asking.reader.send(write_answer(Answer(number, 9, ALLOWED)))
        asking.turn()
    assert [str(number) for number in numbers] == [item for item, _ in asking.answered]


def test_more_than_finds_room(asking: Asking) -> None:
    """What does not fit is asked as soon as it does, in its order, and what is forgotten is not asked."""
    numbers = range(1, 2001)
    ask(asking, *numbers)
    asking.lookups.forget(2000)
    taken: list[int] = []
    while len(taken) < 1999:
        taken += asking.questions(1)
        asking.turn()
    assert [*numbers[:-1]] == taken
    assert 1999 == len(asking.lookups)


def test_a_reader_that_has_ended(asking: Asking) -> None:
    """All that wait are told so, and who asks later is told at once."""
    ask(asking, 1, 2)
    asking.reader.close()
    asking.turn()
    ask(asking, 3)
    assert [("1", None), ("2", None), ("3", None)] == asking.answered
    assert 0 == len(asking.lookups)


def test_a_kernel_without_memory(asking: Asking) -> None:
    """A question waits, its loop does not turn without a pause meanwhile, and then it is sent."""
    loop, short = Loop(), OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
    send = mock.Mock(side_effect=[short, short, 32])
    channel = mock.Mock(fileno=asking.asker.fileno, recv=asking.asker.recv, send=send)
    lookups: Lookups[str] = Lookups(loop, channel, lambda *_: None)
    give_up_in_time(loop)
    began = time.monotonic()
    lookups.ask(Question(1, bytes(16), 0), "1")
    while send.call_count < 3:
        loop.turn()
    assert time.monotonic() - began >= 0.2
    assert 1 == len(lookups)


def test_a_question_of_another_length() -> None:
    """It is none."""
    assert [None, None] == [read_question(bytes(size)) for size in (31, 33)]


def test_the_longest_answer() -> None:
    """There is room for all that a rule can set."""
    answer = Answer(
        1, 7, Verdict(is_denied=False, variables={b"A": bytes(MAX_RULE - 4).replace(b"\0", b"x")})
    )
    assert answer == read_answer(write_answer(answer)[:MAX_MESSAGE])
