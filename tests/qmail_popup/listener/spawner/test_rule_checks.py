"""Logins that wait for the rules."""

import socket
from unittest.mock import Mock

from qmail_popup.listener import addresses
from qmail_popup.listener.process.loop import Loop
from qmail_popup.listener.rules.lookups import Answer, read_question, write_answer
from qmail_popup.listener.rules.rules import Verdict
from qmail_popup.listener.spawner.rule_checks import RuleChecks


def test_how_many_wait_for_each_worker() -> None:
    """A login counts until it has its answer: a count that only grew would soon stop all of its worker's."""
    loop, (asker, reader) = Loop(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    allowed, denied = Mock(), Mock()
    ip = addresses.read(("192.0.2.1", 1)).ip
    with asker, reader:
        checks = RuleChecks(loop, asker, allowed, denied)
        for is_denied in (False, True):
            checks.add(Mock(slot=3, client=addresses.Address(ip, 1), frame=Mock(edition=7)), Mock())
            assert (1, 1) == (len(checks), checks.waiting[3])
            question = read_question(reader.recv(100))
            assert question is not None
            reader.send(write_answer(Answer(question.number, 7, Verdict(is_denied=is_denied, variables={}))))
            loop.turn()
            assert (0, 0) == (len(checks), checks.waiting[3])
    assert (1, 1) == (allowed.call_count, denied.call_count)


def test_an_answer_to_the_former_spawner() -> None:
    """It is about another client: whoever asks after it waits for an answer of its own."""
    asker, reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ips = [addresses.read((f"192.0.2.{number}", 1)).ip for number in (1, 2)]
    allowed, denied = Mock(), Mock()
    with asker, reader:
        loops = [Loop(), Loop()]
        for loop, ip in zip(loops, ips, strict=True):
            checks = RuleChecks(loop, asker, allowed, denied)
            checks.add(Mock(slot=3, client=addresses.Address(ip, 1), frame=Mock(edition=7)), Mock())
        questions = [read_question(reader.recv(100)) for _ in loops]
        for question in filter(None, questions):
            is_denied = question.ip == ips[1]
            reader.send(write_answer(Answer(question.number, 7, Verdict(is_denied=is_denied, variables={}))))
            loops[1].turn()
    assert (0, 1) == (allowed.call_count, denied.call_count)
