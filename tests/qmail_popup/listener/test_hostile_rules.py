"""What a worker that was taken over can do where there are rules: neither evade them nor learn them."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qmail_popup.listener.addresses import read
from qmail_popup.listener.rules.lookups import MAX_MESSAGE, read_answer
from tests.qmail_popup.listener.test_hostile_worker import served
from tests.support import rules
from tests.support.stand_in import FIRST, SLOT, StandIn, login
from tests.support.waiting import until

_OTHER = "192.0.2.9"
_MANY = 3000  # questions: sockets and the reader's queue together have room for far fewer


@pytest.fixture
def ruled(tmp_path: Path) -> Iterator[StandIn]:
    """Return a stand-in for a worker where there are rules: of its clients one may log in."""
    text = f'{_OTHER}:allow,MARK="other"\n127.0.0.1:allow,MARK="own",POP3AUTH="apop"\n127.0.0.2:deny\n'
    rules.compiled(tmp_path / "rules.cdb", text)
    options = ("--rules", str(tmp_path / "rules.cdb"))
    with StandIn(tmp_path, ["/bin/sh", "-c", "echo $MARK"], *options) as running:
        yield running


def test_an_address_whose_rule_it_wants(ruled: StandIn) -> None:
    """The rule is that of the descriptor's address."""
    assert "own\n" == served(ruled, login(client=read((_OTHER, 7))))


def test_who_is_denied(ruled: StandIn) -> None:
    """Whoever the rules deny does not log in, whatever a worker lets in."""
    assert "" == served(ruled, login(), "127.0.0.2")
    until(lambda: any(line.partition(": ")[2].startswith("deny ") for line in ruled.lines()))
    assert [] == ruled.records()
    assert "own\n" == served(ruled, login(FIRST + SLOT + 256))


@pytest.mark.parametrize("message", [b"x", bytes(23), bytes(25), bytes(64), bytes(100_000)])
def test_a_question_that_is_none(ruled: StandIn, message: bytes) -> None:
    """It has no answer, and the next has."""
    asker = ruled.lines_to_rules[1].asker
    again = asker.recv(MAX_MESSAGE)
    asker.send(message)
    asker.send(_QUESTION)
    assert _answers(again) < _answers(asker.recv(MAX_MESSAGE))
    assert "own\n" == served(ruled, login())


_QUESTION = struct.pack("!Q16sQ", 5, read(("127.0.0.1", 0)).ip, 0)


def _answers(message: bytes) -> int:
    return read_answer(message).number


def test_what_a_worker_learns_of_a_rule(ruled: StandIn) -> None:
    """It learns what it needs before a login, and nothing that is the subprogram's alone."""
    asker = ruled.lines_to_rules[1].asker
    asker.recv(MAX_MESSAGE)
    asker.send(_QUESTION)
    assert {b"POP3AUTH": b"apop"} == read_answer(asker.recv(MAX_MESSAGE)).verdict.variables


def test_questions_without_end(ruled: StandIn) -> None:
    """Who takes no answer has none and is read no more, and others are answered."""
    asker, sent = ruled.lines_to_rules[1].asker, 0
    while sent < _MANY and (taken := _flood(asker)):
        sent += taken
        assert "own\n" == served(ruled, login())
    assert sent < _MANY


def _flood(asker: socket.socket) -> int:
    """Send questions while there is room; return how many."""
    sent = 0
    with suppress(BlockingIOError):
        while True:
            asker.send(_QUESTION, socket.MSG_DONTWAIT)
            sent += 1
    return sent
