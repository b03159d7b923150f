"""The fleet's engine under fire: a scraper and a store are away for a while each, while a host is attacked.

The programs are Debian's, started by the run files that are shipped; the rules are those that are shipped, on
a clock that runs ten times faster. Three hosts are real, from tcpserver to sidecar. More of them only answer
scrapes, and the attacked one is of these: real guesses take most of a processor, and on a busy one they come
too seldom. (test_alerts.py attacks a real host.)
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fleet.fleet_alarms import Alarms
from tests.fleet.fleet_crowd import Crowd
from tests.fleet.fleet_engine import Engine, Paces, Program, ask
from tests.fleet.fleet_past import remember_quiet, remember_yesterday
from tests.fleet.hosts_mail import MailHost
from tests.fleet.hosts_users import Pace, Users
from tests.support import scaled_rules
from tests.support.descriptors import CHECKOUT
from tests.support.networks import network
from tests.support.waiting import until

# To the rules, what is away for 45 seconds is away for more than seven minutes: what is missed has its alert
# after five. They do not count on a host that they have not known for twelve minutes, so the stores are given
# more of its past than that. And they are given the attacked one's yesterday: on a first day an attack would
# be taken for usual after three quarters of an hour, which a busy machine may need here.
FASTER = 10
PAST_SECONDS, YESTERDAY_SECONDS = 120, 3600
YESTERDAY = {("POP3S", "accepted"): 40, ("POP3", "accepted"): 14, ("POP3", "failed"): 3}
AWAY_SECONDS = 45.0  # and more than FRESH
CROWD, LOGIN_EVERY = 6, 1.0
CALM, GUESSES = Pace(0.1, 0.05), 4.0  # a second

# A store keeps one sample of a scrape interval, and two scrapers take turns to have it: where an answer takes
# nearly as long as that, an older number may come after a newer one.
PACES = Paces(scrape="6s", evaluation="4s", latency="1s", lookback="30s", behind="20s")
FRESH = "30s"  # five scrapes, of which a busy machine may miss some

ATTACKED = ("QmailPopupAuthRejectSpike", "QmailPopupInstanceRejectOutlier")
_LOGINS = 'instance_outcome:qmail_popup_auth:increase10m{outcome="accepted"} > 0'
_RECEIVER = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"

Counts = Mapping[tuple[str, str], int]
"""Attempts by instance and result."""


class LoggedHost(MailHost):
    """A mail host whose log is read."""

    def records(self) -> list[str]:
        """Return the lines of descriptor 5 once all sessions are over."""
        return [line for server in self._servers for line in server.settled_records()]


class Fleet(NamedTuple):
    """All hosts, those who log in on them, and the engine that watches them."""

    engine: Engine
    crowd: Crowd
    mail: Sequence[LoggedHost]
    people: ExitStack

    @property
    def names(self) -> set[str]:
        """Every host's name, as it is among the labels."""
        return {*self.crowd.names, *(host.target for host in self.mail)}

    def records(self) -> Counts:
        """Have all fall silent; how many records of which sort are in whose log then."""
        self.crowd.fall_silent()
        self.people.close()
        logs = {**self.crowd.records(), **{host.target: host.records() for host in self.mail}}
        return Counter(
            (name, "accepted" if "Accept::AUTH" in line else "rejected")
            for name, lines in logs.items()
            for line in lines
        )


@pytest.fixture
def fleet(tmp_path: Path, installed: Path) -> Iterator[Fleet]:
    """Return a fleet at peace, of which both stores know every host."""
    with ExitStack() as stack:
        nodes = stack.enter_context(network("mail1", "mail2", "mail3"))
        mail = [
            stack.enter_context(LoggedHost(tmp_path / node.name, node, installed)).start() for node in nodes
        ]
        crowd = stack.enter_context(Crowd(tmp_path / "crowd", CROWD, LOGIN_EVERY))
        engine = Engine(tmp_path, *_rules_and_receiver(tmp_path), PACES)
        engine.scrape([*crowd.groups(), {"targets": [host.target for host in mail]}])
        fleet = Fleet(stack.enter_context(engine), crowd, mail, stack.enter_context(ExitStack()))
        for store in engine.stores:
            for host in mail:
                remember_quiet(store, host.target, host.target, PAST_SECONDS)
            remember_quiet(store, crowd.names[0], mail[0].target, PAST_SECONDS)
            remember_yesterday(store, crowd.names[0], YESTERDAY, FASTER, YESTERDAY_SECONDS)
        # VictoriaMetrics counts no increase up to a series' first sample if that is more than ten times the
        # next step. So nobody logs in until both stores have seen every host at 0.
        for store in engine.stores:
            _await_all_fresh(fleet, store)
        crowd.begin()
        for host in mail:
            fleet.people.enter_context(Users(host, CALM))
        for store in engine.stores:
            _await_logins(store, [crowd.names[0], *(host.target for host in mail)])
        yield fleet


def _rules_and_receiver(directory: Path) -> tuple[Path, Path]:
    rules, alerting = directory / "rules", directory / "alertmanager.yml"
    rules.mkdir()
    for name in ("recording.yml", "alerts.yml"):
        scaled_rules.write(CHECKOUT / "dashboards/rules" / name, rules, FASTER)
    alerting.write_text(_RECEIVER)
    return rules, alerting


def test_a_fleet_loses_a_scraper_and_a_store_and_no_count(fleet: Fleet) -> None:
    """Both stores have the records of all hosts, and the attacked one's alerts stayed through all of it."""
    engine = fleet.engine
    wanted = {(name, fleet.crowd.names[0]) for name in ATTACKED}
    with Alarms(engine.alertmanager.url) as alarms:
        fleet.crowd.attack_first(GUESSES)
        with _away(engine, engine.scrapers[0], (0, 1)):
            for store in engine.stores:
                _await_all_fresh(fleet, store)
        alarms.await_active(wanted)
        with _away(engine, engine.stores[0], (1,)):
            _await_all_fresh(fleet, engine.stores[1])
        until(engine.rules[0].has_ended)  # with its store; a supervisor starts it again
        engine.rules[0].start().await_ready()
        # A store that was away has no thresholds until rules were evaluated on it again.
        until(lambda: [[], []] == [engine.rule_errors(number) for number in (0, 1)])
    assert (wanted, []) == (alarms.seen, alarms.gone)
    records = fleet.records()
    for store in engine.stores:
        until(lambda store=store: records == _totals(store))  # type: ignore[misc]
    assert [set(), set()] == [records.items() ^ _increases(store).items() for store in engine.stores]
    # At no time, so also where the store that was away had no thresholds yet. The other's never was.
    assert [[], []] == [engine.rule_errors(number) for number in (0, 1)]
    assert 0 == engine.failed_evaluations(1)


@contextmanager
def _away(engine: Engine, program: Program, rules: tuple[int, ...]) -> Iterator[None]:
    """Kill it; the block comes once these rules have seen it away for long, and then it is started again."""
    program.kill()
    seen = time.time() + AWAY_SECONDS
    until(lambda: time.time() > seen)  # before that there is no need to ask: an answer has all the rules
    for number in rules:
        until(lambda number=number: engine.evaluated(number) > seen)  # type: ignore[misc]
    yield
    program.start().await_ready()


def _fresh(store: Program) -> set[str]:
    """Return the hosts of which a store has anything new."""
    return {dict(labels)["instance"] for labels in ask(store.url, f"last_over_time(up[{FRESH}]) == 1")}


def _await_all_fresh(fleet: Fleet, store: Program) -> None:
    """Wait until a store has new samples of every host; at no time has it any of another."""
    until(lambda: fleet.names == _fresh(store))


def _await_logins(store: Program, names: Sequence[str]) -> None:
    """Wait until the rules over a store know of logins on each of these hosts."""
    until(lambda: set(names) <= {dict(labels)["instance"] for labels in ask(store.url, _LOGINS)})


def _totals(store: Program) -> Counts:
    """Return the attempts that a store has by now."""
    return _counts(store, "last_over_time(qmail_popup_auth_attempts_total[1h])")


def _increases(store: Program) -> Counts:
    """Return by how much they grew since the beginning: over all gaps, and with no step back in them."""
    return _counts(store, "increase(qmail_popup_auth_attempts_total[1h])")


def _counts(store: Program, expression: str) -> Counts:
    found = ask(store.url, f"sum by (instance, result) ({expression}) > 0")
    return {(dict(labels)["instance"], dict(labels)["result"]): int(value) for labels, value in found.items()}
