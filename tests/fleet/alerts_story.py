"""What happens to three mail hosts: people log in, one host is attacked, the checker breaks on another.

Each fault lasts until what must be told of it has been told: a slow machine takes longer and sees the same.
"""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.fleet.alerts_watch import Watch, watching
from tests.fleet.hosts_mail import MailHost
from tests.fleet.hosts_users import Pace, users
from tests.support import authority
from tests.support.authority import Authority
from tests.support.gateway import Pushgateway
from tests.support.networks import network
from tests.support.waiting import until

ATTACKED = ("QmailPopupAuthRejectSpike", "QmailPopupInstanceRejectOutlier")
BROKEN = ("QmailPopupAuthAllFailing", "QmailPopupSubprogramFailing")

# Ten minutes are ten seconds here: 8 to 25 logins on each host in that time, of which one or two go wrong.
# Where fewer than ten are usual, nobody can tell that they fail.
_EVERYBODY = (Pace(0.8, 0.1), Pace(2.5, 0.2), Pace(0.8, 0.1))
_OVER_TLS, _GUESSES = Pace(0.5, 0.1), Pace(0, 2.5)
_GUESSERS = 3
_PUSHES = ("--push-interval=0.5", "--instance=mail3")
_HAS_HISTORY = 'count(instance_outcome:qmail_popup_auth:increase10m_usual{outcome="failed"})'


class Fleet(NamedTuple):
    """Three hosts. The first two are scraped; the third one pushes, and speaks TLS too."""

    attacked: MailHost
    broken: MailHost
    pushing: MailHost
    watch: Watch


@contextmanager
def fleet(directory: Path, installed: Path) -> Iterator[Fleet]:
    """Start all of it, people included. directory: for files; installed: the PREFIX of the product."""
    with ExitStack() as stack:
        nodes = stack.enter_context(network("mail1", "mail2", "mail3"))
        gateway = Pushgateway(directory)
        gateway.address = f"{nodes[2].gateway}:0"
        stack.enter_context(gateway)
        attacked, broken, pushing = (
            stack.enter_context(MailHost(directory / node.name, node, installed)) for node in nodes
        )
        certificates = authority.make(directory)
        attacked.start()
        broken.start()
        pushing.start(certificates, [f"--push={gateway.url}", *_PUSHES])
        targets = {"qmail-popup": [attacked.target, broken.target], "qmail-popup-gateway": [gateway.address]}
        watch = stack.enter_context(watching(directory, targets))
        for host, pace in zip((attacked, broken, pushing), _EVERYBODY, strict=True):
            stack.enter_context(users(host, pace))
        stack.enter_context(users(pushing, _OVER_TLS, _trusting(certificates)))
        yield Fleet(attacked, broken, pushing, watch)


def play(fleet: Fleet) -> None:
    """Have it all happen, to the end of every alert.

    An alert that is not told in time holds nothing up forever: to complain of it is the test's business.
    """
    fleet.watch.prometheus.await_number(3, _HAS_HISTORY)
    with ExitStack() as attack:
        for _ in range(_GUESSERS):
            attack.enter_context(users(fleet.attacked, _GUESSES))
        _await_firing(fleet, fleet.attacked, ATTACKED)
    fleet.broken.break_checker()
    _await_firing(fleet, fleet.broken, BROKEN)
    fleet.broken.mend_checker()
    with suppress(TimeoutError):
        until(lambda: _last_told(fleet) == {"resolved"})


def _trusting(certificates: Authority) -> ssl.SSLContext:
    """Return the context of a client to whom it is all one which host has the certificate."""
    context = certificates.trusted()
    context.check_hostname = False
    return context


def _await_firing(fleet: Fleet, host: MailHost, names: tuple[str, ...]) -> None:
    """Wait until the alerts have been told of the host."""
    wanted = {(name, host.target) for name in names}
    with suppress(TimeoutError):
        until(lambda: wanted <= fleet.watch.webhook.states().keys())


def _last_told(fleet: Fleet) -> set[str]:
    return {states[-1] for states in fleet.watch.webhook.states().values()}
