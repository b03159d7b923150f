"""The users of mail hosts, and who guesses at their passwords: POP3 sessions at a steady pace, in threads."""

import poplib
import ssl
import time
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from tests.fleet.hosts_mail import MailHost
from tests.support.background import Background
from tests.support.maildir import Account
from tests.support.waiting import TIMEOUT


class Pace(NamedTuple):
    """Logins a second, right and wrong."""

    right: float
    wrong: float


class Users(Background):
    """They come for as long as the context lasts."""

    def __init__(self, host: MailHost, pace: Pace) -> None:
        right, wrong = host.account, guessed(host.account)
        super().__init__(
            partial(self._come, host, right, pace.right), partial(self._come, host, wrong, pace.wrong)
        )

    def _come(self, host: MailHost, account: Account, rate: float) -> None:
        """Come `rate` times a second; of what a slow machine has held up, a second's worth is made up for."""
        due = time.monotonic()
        while not self.over.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / rate, time.monotonic() - 1)
            with suppress(OSError):  # cut off: who still wants mail comes again
                visit(host, account)


def guessed(account: Account) -> Account:
    """Return the account as somebody has it who does not know the password."""
    return replace(account, password="guessed")


def visit(host: MailHost, account: Account, tls: ssl.SSLContext | None = None) -> None:
    """Have a session, over POP3S where there is tls."""
    with closing(_connected(host, tls)) as client:
        client.user(account.name)
        with suppress(poplib.error_proto):  # refused
            client.pass_(account.password)
            client.stat()
            client.quit()


def _connected(host: MailHost, tls: ssl.SSLContext | None) -> poplib.POP3:
    if tls:
        return poplib.POP3_SSL(host.node.address, host.pop3s, timeout=TIMEOUT, context=tls)
    return poplib.POP3(host.node.address, host.pop3, timeout=TIMEOUT)
