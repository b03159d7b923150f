"""Logins on their way to their subprogram, in the spawner: held until it is known what the rules say of them.

A worker's word is taken for the edition of the rules and for nothing else: the variables of a rule, and
whether it lets anybody in, are looked up here, by the address that the session has here.
"""

import socket
from collections import Counter
from collections.abc import Callable
from itertools import count

from qmail_popup.listener.process.loop import Loop
from qmail_popup.listener.rules.lookups import AGAIN, Answer, Lookups, Question
from qmail_popup.listener.spawner.session import Session

_Login = tuple[Session, socket.socket]
_Next = Callable[[Session, socket.socket], None]


class Ruled:
    """All that are held."""

    def __init__(self, loop: Loop, rules: socket.socket, allowed: _Next, denied: _Next) -> None:
        """rules: leads to their reader; allowed, denied: called with who may log in, and who may not."""
        self._lookups: Lookups[_Login] = Lookups(loop, rules, self._answered)
        self._allowed, self._denied = allowed, denied
        self._numbers = count(AGAIN + 1)  # our own: a worker may give one of its twice
        self.waiting: Counter[int] = Counter()  # by the slot of their worker

    def __len__(self) -> int:
        return len(self._lookups)

    def add(self, session: Session, peer: socket.socket) -> None:
        """Hold a login until the rules have answered."""
        self.waiting[session.slot] += 1
        question = Question(next(self._numbers), session.client.ip, session.frame.edition)
        self._lookups.ask(question, (session, peer))

    def _answered(self, login: _Login, answer: Answer | None) -> None:
        session, peer = login
        self.waiting[session.slot] -= 1
        if not answer or answer.verdict.is_denied:
            self._denied(session, peer)
        else:
            session.rules = answer.verdict.variables
            self._allowed(session, peer)
