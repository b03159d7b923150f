"""The users of mail hosts, and who guesses at their passwords: POP3 sessions at a steady pace, in threads."""

import poplib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

from tests.fleet.hosts_mail import MailHost
from tests.support.maildir import Account
from tests.support.waiting import TIMEOUT


class Pace(NamedTuple):
    """Logins a second, right and wrong."""

    right: float
    wrong: float


_Door = Callable[[], poplib.POP3]


@contextmanager
def users(host: MailHost, pace: Pace, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    """Have them come for as long as the context lasts, over POP3S where there is tls."""
    over, door = threading.Event(), _door(host, tls)
    wrong = replace(host.account, password="guessed")
    threads = [
        threading.Thread(target=_come, args=(door, account, rate, over), daemon=True)
        for account, rate in ((host.account, pace.right), (wrong, pace.wrong))
        if rate
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(TIMEOUT)


def _door(host: MailHost, tls: ssl.SSLContext | None) -> _Door:
    if tls:
        return lambda: poplib.POP3_SSL(host.node.address, host.pop3s, timeout=TIMEOUT, context=tls)
    return lambda: poplib.POP3(host.node.address, host.pop3, timeout=TIMEOUT)


def _come(door: _Door, account: Account, rate: float, over: threading.Event) -> None:
    """Come `rate` times a second; of what a slow machine has held up, a second's worth is made up for."""
    due = time.monotonic()
    while not over.wait(max(0.0, due - time.monotonic())):
        due = max(due + 1 / rate, time.monotonic() - 1)
        with suppress(OSError):  # cut off: who still wants mail comes again
            _session(door, account)


def _session(door: _Door, account: Account) -> None:
    with closing(door()) as client:
        client.user(account.name)
        with suppress(poplib.error_proto):  # refused
            client.pass_(account.password)
            client.stat()
            client.quit()
