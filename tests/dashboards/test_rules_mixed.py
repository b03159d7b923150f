"""The alerts on fleets whose hosts differ: in what befalls them, and in what they export."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.support.cells import CHANGE, END, PACE, Rates, gauge, host, only
from tests.support.promtool import Seen, fleet_case

SOON = 20
"""Minutes until an alert has to have fired."""

ATTEMPTS, SESSIONS = "qmail_popup_auth_attempts_total", "qmail_popup_sessions_total"
FAILURES = "qmail_popup_auth_failures_total"
EXITS = "qmail_popup_subprogram_exits_total"
BUCKETS = "qmail_popup_auth_rejected_duration_seconds_bucket"

USUAL: Rates = {
    "accepted User POP3S": 20,
    "credentials User POP3S": 1,
    "session User POP3S": 0.2,
    "accepted User POP3": 5,
    "credentials User POP3": 0.2,
    "session User POP3": 0.05,
    "credentials Apop POP3": 0,
    "temporary User POP3S": 0,
    "temporary User POP3": 0,
    "quit POP3": 0.5,
}


class One(NamedTuple):
    """A host of a fleet: what changes on it, the alerts of that, and the families it exports, if not all."""

    changes: Rates = MappingProxyType({})
    raises: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    pushes: bool = False
    active: tuple[float, float] = (5, 0)


CALM = One()
GUESSED: Rates = {"credentials User POP3": (0.2, 12)}
GONE: Rates = {key: (rate, 0) for key, rate in USUAL.items() if not isinstance(rate, tuple)}
TEMPORARY: Rates = {"accepted User POP3S": (20, 10), "temporary User POP3S": (0, 12)}
ATTACK = ("AuthRejectSpike", "InstanceRejectOutlier")
OLD = (ATTEMPTS, SESSIONS)
OLDER = (ATTEMPTS, SESSIONS, EXITS, BUCKETS)

FLEETS: Mapping[str, tuple[One, ...]] = {
    "one is attacked over POP3": (CALM, CALM, CALM, One(GUESSED, ATTACK)),
    "one is attacked that tells only attempts and sessions": (CALM, CALM, CALM, One(GUESSED, ATTACK, OLD)),
    "one of an older version is attacked": (CALM, CALM, CALM, One(GUESSED, ATTACK, OLDER)),
    "one that pushes is attacked": (CALM, CALM, CALM, One(GUESSED, ATTACK, pushes=True)),
    "those of an older version are calm": (CALM, One(exports=OLD), One(exports=OLDER), One(exports=OLD)),
    "all are attacked alike": tuple(One(GUESSED, ("AuthRejectSpike",)) for _ in range(4)),
    "half are attacked": (CALM, CALM, CALM, One(GUESSED, ATTACK), One(GUESSED, ATTACK)),
    "POP3S dies on one": (
        CALM,
        CALM,
        CALM,
        One(
            {
                "accepted User POP3S": (20, 0),
                "credentials User POP3S": (1, 0),
                "session User POP3S": (0.2, 0),
            },
            ("TrafficAbsent",),
            active=(5, -0.05),
        ),
    ),
    "one database for all is away": tuple(One(TEMPORARY, ("SubprogramFailing",)) for _ in range(4)),
    "one of an older version has a broken checker": (
        CALM,
        CALM,
        CALM,
        One(TEMPORARY, ("SubprogramFailing",), OLDER),
    ),
    "half have a checker that hangs": (
        CALM,
        CALM,
        *(One(GONE, ("SessionsStuck",), active=(5, 25)) for _ in range(2)),
    ),
    "one offers APOP, and is asked for it": (
        CALM,
        CALM,
        CALM,
        One({"credentials Apop POP3": (0, 6)}, ("AuthAllFailing",)),
    ),
    "one slows down under an attack": (CALM, CALM, CALM, One({"session User POP3S": (0.2, 40)}, ATTACK)),
    "one has lost TLS": (
        *(One({"accepted User POP3": 0.1, "credentials User POP3": 0}) for _ in range(3)),
        One(
            {"accepted User POP3S": (20, 0), "accepted User POP3": (0.1, 20), "credentials User POP3": 0},
            ("PlaintextLogins",),
        ),
    ),
    "users move from one to the next": (
        One(GONE, ("TrafficAbsent",), active=(5, -0.05)),
        One({key: (rate, 2 * rate) for key, rate in USUAL.items() if not isinstance(rate, tuple)}),
        CALM,
    ),
    "a night with bots everywhere": tuple(
        One(
            {
                "accepted User POP3S": (20, 1),
                "accepted User POP3": (5, 0.2),
                "session User POP3S": (0.2, 0),
                "quit POP3": (0.5, 2),
            },
        )
        for _ in range(4)
    ),
}


def _series(name: str, number: int, one: One) -> dict[str, str]:
    """Return a host's series; only the first of a fleet has those of what never happens, too."""
    instance = f"{name} {number}"
    made = host(instance, {**USUAL, **one.changes}, job=name, idle=number == 0)
    if one.exports:
        return only(made, *one.exports)
    if one.pushes:
        made = {key.replace('le="10.0"', 'le="10"'): values for key, values in made.items()}
    return made | gauge("qmail_popup_sessions_active", instance, *one.active, job=name)


def test_each_fleet_raises_what_befalls_its_hosts(tmp_path: Path) -> None:
    """Each fleet is a job: nothing until it happens, its own soon after, nothing else to the end."""
    series: dict[str, str] = {}
    alerts = []
    for name, fleet in FLEETS.items():
        for number, one in enumerate(fleet):
            series |= _series(name, number, one)
            alerts += [(alert, f"{name} {number}") for alert in one.raises]
    seen = [Seen(CHANGE, CHANGE, ()), Seen(CHANGE + SOON, SOON, alerts), Seen(END, END, alerts)]
    assert "" == fleet_case(tmp_path / "case.yml", series, seen, PACE)


def test_a_slow_attack_on_one_protocol_is_seen_over_all_hosts(tmp_path: Path) -> None:
    """None of eight hosts shows it, and most of what they all refuse is mistyped over the other protocol."""
    series: dict[str, str] = {}
    for number in range(8):
        changes: Rates = {"credentials User POP3S": 3, "credentials User POP3": (0.2, 2.5)}
        series |= host(f"mail{number}:9110", {**USUAL, **changes}, idle=number == 0)
    alert = [("AuthRejectSpike", "")]
    seen = [Seen(CHANGE, CHANGE, ()), Seen(CHANGE + SOON, SOON, alert), Seen(END, END, alert)]
    assert "" == fleet_case(tmp_path / "case.yml", series, seen, PACE)
