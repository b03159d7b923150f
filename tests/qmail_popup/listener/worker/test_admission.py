"""What a worker decides before the greeting: headers that do not come whole, and what the rules say."""

import os
import socket
from collections.abc import Iterator

import pytest

from qmail_popup.listener.ipc.counts import Counts
from qmail_popup.listener.ipc.frames import DISCONNECTED, REFUSED
from qmail_popup.listener.options import parse
from qmail_popup.listener.process.loop import Loop
from qmail_popup.listener.rules.lookups import Answer, write_answer
from qmail_popup.listener.rules.rules import Verdict
from qmail_popup.listener.variables import SettingsOf
from qmail_popup.listener.worker.admission import Admission
from qmail_popup.listener.worker.buffer import Buffer
from qmail_popup.listener.worker.connection import Connection
from qmail_popup.listener.worker.limits import Limits
from tests.support.leaving import reset_at_close
from tests.support.stand_in import client
from tests.support.unserved import give_up_in_time, unserved

_NUMBER, _EDITION = 1, 7


class Place:
    """One client at the door, behind a balancer or not.

    rules: the reader's end; greeted, ended: what the worker was told
    """

    def __init__(self, *options: str, has_rules: bool) -> None:
        told = parse([*options, "pop.example.org", "/bin/true"])
        self.loop, self.buffer, self.wakeup = Loop(), Buffer(), os.eventfd(0)
        give_up_in_time(self.loop)
        self.rules, asker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.near, self.far = client()
        self.connection = unserved(self.far, number=_NUMBER)
        self.greeted: list[Connection] = []
        self.ended: list[str] = []
        self._asker = asker
        limits = Limits(
            *(self.loop, told, Counts(1).column(0)),
            wakeups=[self.wakeup],
            slot=0,
            timed_out=lambda connection: self._end(connection, "silent"),
            refused=lambda connection: self._end(connection, "no room"),
            woken=lambda: None,
        )
        self.admission = Admission(
            *(self.loop, told, limits, self.buffer),
            settings_of=SettingsOf(told.arguments, {}),
            rules=asker if has_rules else None,
            greet=self.greeted.append,
            ended=self._end,
        )

    def close(self) -> None:
        """Close all."""
        for sock in (self.rules, self._asker, self.near, self.far):
            sock.close()
        os.close(self.wakeup)

    def _end(self, _connection: Connection, word: str) -> None:
        self.ended.append(word)


@pytest.fixture
def behind() -> Iterator[Place]:
    """Return a client behind a balancer."""
    place = Place("--proxy-protocol", "127.0.0.0/8", has_rules=False)
    yield place
    place.close()


@pytest.fixture
def ruled() -> Iterator[Place]:
    """Return a client of which the rules are asked."""
    place = Place(has_rules=True)
    yield place
    place.close()


@pytest.mark.parametrize("said", [b"", b"PROXY "])
@pytest.mark.parametrize("resets", [False, True])
def test_a_balancer_that_leaves(behind: Place, said: bytes, *, resets: bool) -> None:
    """Before its header is whole that is the end of a session without a client, however it goes."""
    behind.admission.begin(behind.connection)
    if said:
        behind.near.sendall(said)
        behind.loop.turn()
    if resets:
        reset_at_close(behind.near)
    behind.near.close()
    behind.loop.turn()
    assert ([], [DISCONNECTED]) == (behind.greeted, behind.ended)


def test_a_header(behind: Place) -> None:
    """Only it is taken off the socket, nothing of it stays in the buffer, and the loop lets go."""
    behind.admission.begin(behind.connection)
    for said in (b"PROXY TCP4 192.0.2.9 ", b"192.0.2.1 1234 110\r\nUSER bob\r\n"):
        assert [] == behind.greeted
        behind.near.sendall(said)
        behind.loop.turn()
    assert ([behind.connection], []) == (behind.greeted, behind.ended)
    assert (b"USER bob\r\n", 1234) == (behind.far.recv(100), behind.connection.client.port)
    assert not any(behind.buffer.bytes)
    behind.loop.watch(behind.far.fileno(), behind.connection)


def test_rules_that_deny(ruled: Place) -> None:
    """The client is refused."""
    ruled.admission.begin(ruled.connection)
    ruled.rules.send(write_answer(Answer(_NUMBER, _EDITION, Verdict(is_denied=True, variables={}))))
    ruled.loop.turn()
    assert ([], [REFUSED]) == (ruled.greeted, ruled.ended)


def test_rules_that_allow(ruled: Place) -> None:
    """The client is greeted as they say, and keeps their edition for its login."""
    ruled.admission.begin(ruled.connection)
    assert [] == ruled.greeted
    variables = {b"QMAIL_POPUP_LOGIN_TIMEOUT": b"5"}
    ruled.rules.send(write_answer(Answer(_NUMBER, _EDITION, Verdict(is_denied=False, variables=variables))))
    ruled.loop.turn()
    assert ([ruled.connection], []) == (ruled.greeted, ruled.ended)
    assert (_EDITION, 5) == (ruled.connection.edition, ruled.connection.settings.login_timeout)


def test_rules_that_nobody_reads(ruled: Place) -> None:
    """Without the reader nobody knows who may come in: the client is disconnected."""
    ruled.admission.begin(ruled.connection)
    ruled.rules.close()
    ruled.loop.turn()
    assert ([], [DISCONNECTED]) == (ruled.greeted, ruled.ended)


def test_a_client_that_has_gone(ruled: Place) -> None:
    """What the rules say of it is of no interest any more."""
    ruled.admission.begin(ruled.connection)
    ruled.admission.forget(ruled.connection)
    ruled.rules.send(write_answer(Answer(_NUMBER, _EDITION, Verdict(is_denied=True, variables={}))))
    ruled.loop.turn()
    assert ([], []) == (ruled.greeted, ruled.ended)
