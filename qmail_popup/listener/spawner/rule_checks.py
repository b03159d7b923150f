"""Holds logins in the spawner until the rules reader has answered for them.

The worker is trusted only for the edition of the rules. Whether a rule denies the client, and its variables,
are looked up here, by the address that the spawner has for the session.
"""

import socket
import time
from collections import Counter
from collections.abc import Callable
from itertools import count

from qmail_popup.listener.process.loop import Loop
from qmail_popup.listener.rules.lookups import AGAIN, Answer, Lookups, Question
from qmail_popup.listener.spawner.session import Session

_Login = tuple[Session, socket.SocketType]
_Next = Callable[[Session, socket.SocketType], None]


class RuleChecks:
    """The logins being held."""

    def __init__(self, loop: Loop, rules: socket.socket, allowed: _Next, denied: _Next) -> None:
        """rules: connects to the rules reader; allowed, denied: called with each login, by its verdict."""
        self._lookups: Lookups[_Login] = Lookups(loop, rules, self._answered)
        self._allowed, self._denied = allowed, denied
        # Not the session's: a compromised worker may use one twice. And not the former spawner's, whose
        # questions may still be answered.
        self._numbers = count(max(AGAIN + 1, time.monotonic_ns()))
        self.waiting: Counter[int] = Counter()  # by worker slot

    def __len__(self) -> int:
        return len(self._lookups)

    def add(self, session: Session, peer: socket.SocketType) -> None:
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
