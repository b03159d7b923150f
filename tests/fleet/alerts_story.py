"""What happens to three mail hosts: people log in, one host is attacked, the checker breaks on another.

Each fault lasts until what must be told of it has been told. How many log in in which second is as it stands
here: their sessions take place before, and the sidecars are told of them at the story's pace.
"""

import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.fleet.alerts_hosts import Events, Sending, StoryHost
from tests.fleet.alerts_watch import Watch, watching
from tests.fleet.hosts_users import guessed
from tests.support import authority
from tests.support.authority import Authority
from tests.support.gateway import Pushgateway
from tests.support.networks import network
from tests.support.waiting import until

ATTACKED = ("QmailPopupAuthRejectSpike", "QmailPopupInstanceRejectOutlier")
BROKEN = ("QmailPopupAuthAllFailing", "QmailPopupSubprogramFailing")

# Ten minutes are ten seconds here. Where fewer than ten logins are usual in that time, nobody can tell that
# they fail: so many come only to the host where they will.
_BUSY, _CALM, _MISTYPED, _GUESSED = 1.5, 0.4, 0.1, 5.0  # a second
# The rules want 57 seconds of history; each fault takes about a quarter of a minute until it is told.
_LASTS, _FAULT_LASTS = 130, 30
_PUSHES = ("--push-interval=0.5", "--instance=mail3")
_HAS_HISTORY = 'count(instance_outcome:qmail_popup_auth:increase10m_usual{outcome="failed"})'


class Hosts(NamedTuple):
    """The first two are scraped; the third one pushes, and speaks TLS too."""

    attacked: StoryHost
    broken: StoryHost
    pushing: StoryHost


class Sessions(NamedTuple):
    """What there will be in the story: sessions that are over.

    users: of the host that will break; failures: theirs, with the checker broken; guesses: the attack;
    others: of those who come all of the time
    """

    users: Events
    failures: Events
    guesses: Events
    others: Sequence[Sending]


@dataclass
class Fleet:
    """The hosts, and who watches them. worst: when all had been told, in seconds since 1970."""

    hosts: Hosts
    sessions: Sessions
    watch: Watch
    worst: float = 0.0


@contextmanager
def fleet(directory: Path, installed: Path) -> Iterator[Fleet]:
    """Start all of it, people included. directory: for files; installed: the PREFIX of the product."""
    with ExitStack() as stack:
        nodes = stack.enter_context(network("mail1", "mail2", "mail3"))
        gateway = Pushgateway(directory)
        gateway.address = f"{nodes[2].gateway}:0"
        stack.enter_context(gateway)
        hosts = Hosts(*(stack.enter_context(StoryHost(directory / n.name, n, installed)) for n in nodes))
        certificates = authority.make(directory)
        hosts.attacked.start()
        hosts.broken.start()
        hosts.pushing.start(certificates, [f"--push={gateway.url}", *_PUSHES])
        sessions = _had(hosts, _trusting(certificates))
        for sending in sessions.others:
            stack.enter_context(sending)
        scraped = [hosts.attacked.target, hosts.broken.target]
        targets = {"qmail-popup": scraped, "qmail-popup-gateway": [gateway.address]}
        yield Fleet(hosts, sessions, stack.enter_context(watching(directory, targets)))


def play(fleet: Fleet) -> None:
    """Have it all happen, to the end of every alert.

    An alert that is not told in time holds nothing up forever: to complain of it is the test's business.
    """
    attacked, broken, _ = fleet.hosts
    with Sending(broken, fleet.sessions.users, _BUSY):
        fleet.watch.prometheus.await_number(len(fleet.hosts), _HAS_HISTORY)
        with Sending(attacked, fleet.sessions.guesses, _GUESSED):
            _await_firing(fleet, attacked, ATTACKED)
    with Sending(broken, fleet.sessions.failures, _BUSY):
        _await_firing(fleet, broken, BROKEN)
    fleet.worst = time.time()
    with Sending(broken, fleet.sessions.users, _BUSY), suppress(TimeoutError):
        until(lambda: _last_told(fleet) == {"resolved"})


def _had(hosts: Hosts, tls: ssl.SSLContext) -> Sessions:
    """Have all sessions."""
    attacked, broken, pushing = hosts
    users = broken.events(broken.account, int(_BUSY * _LASTS))
    broken.break_checker()
    failures = broken.events(broken.account, int(_BUSY * _FAULT_LASTS))
    broken.mend_checker()
    guesses = attacked.events(guessed(attacked.account), int(_GUESSED * _FAULT_LASTS))
    calm = [_people(attacked, _CALM), _people(pushing, _CALM), _people(pushing, _CALM, tls)]
    mistyping = [_people(host, _MISTYPED, mistyping=True) for host in hosts]
    return Sessions(users, failures, guesses, [*calm, *mistyping])


def _people(
    host: StoryHost, rate: float, tls: ssl.SSLContext | None = None, *, mistyping: bool = False
) -> Sending:
    """Return those who come in all of the time, with their sessions already over."""
    account = guessed(host.account) if mistyping else host.account
    return Sending(host, host.events(account, int(rate * _LASTS), tls), rate)


def _trusting(certificates: Authority) -> ssl.SSLContext:
    """Return the context of a client to whom it is all one which host has the certificate."""
    context = certificates.trusted()
    context.check_hostname = False
    return context


def _await_firing(fleet: Fleet, host: StoryHost, names: tuple[str, ...]) -> None:
    """Wait until the alerts have been told of the host."""
    wanted = {(name, host.target) for name in names}
    with suppress(TimeoutError):
        until(lambda: wanted <= fleet.watch.webhook.states().keys())


def _last_told(fleet: Fleet) -> set[str]:
    return {states[-1] for states in fleet.watch.webhook.states().values()}
