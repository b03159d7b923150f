"""The alerts on hosts whose halves hide each other: by protocol, by method, and by what a refusal was for."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.cells import CHANGE, END, PACE, Rates, gauge, host
from tests.support.promtool import Seen, fleet_case

SOON = 20
"""Minutes until an alert has to have fired."""

# Logins a minute, and what always goes wrong beside them.
USUAL: Rates = {
    "accepted User POP3S": 95,
    "credentials User POP3S": 4,
    "session User POP3S": 1,
    "accepted User POP3": 5,
    "credentials User POP3": 0.2,
    "accepted Apop POP3": 4,
    "credentials Apop POP3": 0.1,
    "temporary User POP3S": 0,
    "temporary User POP3": 0,
    "temporary Apop POP3": 0,
    "crashed User POP3S": 0,
    "session User POP3": 0.05,
    "tls_required Any POP3": 0,
    "quit POP3": 0.5,
    "killed POP3": 0,
    "killed POP3S": 0,
    "timeout POP3S": 0,
}


def _times(factor: float) -> Rates:
    """Return the change of all that is usual to so many times that."""
    return {key: (rate, rate * factor) for key, rate in USUAL.items() if not isinstance(rate, tuple)}


class Case(NamedTuple):
    """What changes on a usual host, and the alerts that it raises; active: what `gauge` takes."""

    changes: Rates
    raises: tuple[str, ...] = ()
    active: tuple[float, float] = (30, 0)


CASES: Mapping[str, Case] = {
    "POP3S dies and takes 95 of 100 users along": Case(
        {"accepted User POP3S": (95, 0), "credentials User POP3S": (4, 0), "session User POP3S": (1, 0)},
        ("TrafficAbsent",),
        (30, -0.4),
    ),
    "POP3 dies behind a busy POP3S": Case(
        {
            "accepted User POP3": (5, 0),
            "credentials User POP3": (0.2, 0),
            "accepted Apop POP3": (4, 0),
            "credentials Apop POP3": (0.1, 0),
            "session User POP3": (0.05, 0),
            "quit POP3": (0.5, 0),
        },
        ("TrafficAbsent",),
    ),
    "POP3S turns everybody away, as credentials": Case(
        {"accepted User POP3S": (95, 0), "credentials User POP3S": (4, 99)}, ("AuthAllFailing",)
    ),
    "POP3 turns everybody away behind a busy POP3S": Case(
        {"accepted User POP3": (5, 0), "credentials User POP3": (0.2, 5.2)}, ("AuthAllFailing",)
    ),
    "APOP is turned away on a host where it was accepted": Case(
        {"accepted Apop POP3": (4, 0), "credentials Apop POP3": (0.1, 4.1)}, ("AuthAllFailing",)
    ),
    "passwords are guessed over POP3, behind more mistyped ones over POP3S": Case(
        {"credentials User POP3": (0.2, 6)}, ("AuthRejectSpike",)
    ),
    "passwords are guessed with APOP": Case({"credentials Apop POP3": (0.1, 6)}, ("AuthRejectSpike",)),
    "a tenth of the users is refused as temporary, over POP3": Case(
        {"accepted User POP3": (5, 4), "temporary User POP3": (0, 1)}, ("SubprogramFailing",)
    ),
    "half of all are refused as temporary, and try again": Case(
        {"accepted User POP3S": (95, 48), "temporary User POP3S": (0, 120)}, ("SubprogramFailing",)
    ),
    "a fifth of all are refused as temporary": Case(
        {"accepted User POP3S": (95, 76), "temporary User POP3S": (0, 19)}, ("SubprogramFailing",)
    ),
    "the checker crashes for a fifth": Case(
        {"accepted User POP3S": (95, 76), "crashed User POP3S": (0, 19)}, ("SubprogramFailing",)
    ),
    "popups of POP3 are killed, one of a hundred of all": Case({"killed POP3": (0, 1)}, ("SessionsBroken",)),
    "a POP3 server dies of SIGPIPE at each client that drops out": Case(
        {"accepted User POP3S": (95, 65), "session User POP3S": (1, 31)}
    ),
    "guessing slows the checker down to 15 s": Case({"session User POP3S": (1, 60)}, ("AuthRejectSpike",)),
    "the checker hangs, and everybody waits": Case(
        _times(0),
        ("SessionsStuck",),
        (30, 80),
    ),
    "the checker hangs over POP3 alone": Case(
        {
            "accepted User POP3": (5, 0),
            "credentials User POP3": (0.2, 0),
            "accepted Apop POP3": (4, 0),
            "credentials Apop POP3": (0.1, 0),
        },
        ("SessionsStuck",),
        (30, 8),
    ),
    "the checker hangs, and scanners still come and go": Case(
        {
            "accepted User POP3S": (95, 0),
            "credentials User POP3S": (4, 0),
            "session User POP3S": (1, 0),
            "quit POP3": (0.5, 12),
        },
        ("SessionsStuck",),
        (30, 80),
    ),
    "POP3 is closed to passwords in clear, and its users do not follow": Case(
        {
            "accepted User POP3": (5, 0),
            "accepted Apop POP3": (4, 0),
            "tls_required Any POP3": (0, 9),
            "credentials User POP3": (0.2, 0),
            "credentials Apop POP3": (0.1, 0),
        },
        ("AuthAllFailing",),
    ),
    "all of POP3 move to POP3S, and mistype there": Case(
        {
            "accepted User POP3S": (20, 45),
            "credentials User POP3S": (1, 5),
            "accepted User POP3": (25, 0),
            "credentials User POP3": (4, 0),
            "accepted Apop POP3": 0,
            "credentials Apop POP3": 0,
            "quit POP3": (0.5, 0),
            "session User POP3": 0,
        }
    ),
    "passwords come in clear, behind as many logins with APOP": Case(
        {"accepted Apop POP3": 100, "accepted User POP3": (0.1, 40), "credentials User POP3": 0},
        ("PlaintextLogins",),
    ),
    "all comes five times as often": Case(_times(5)),
}


def test_each_half_raises_its_own_alert(tmp_path: Path) -> None:
    """Each on a host of its own: nothing until it happens, its own soon after, nothing else to the end."""
    series: dict[str, str] = {}
    for name, case in CASES.items():
        series |= host(name, {**USUAL, **case.changes}, job=name)
        series |= gauge("qmail_popup_sessions_active", name, *case.active, job=name)
    alerts = [(alert, name) for name, case in CASES.items() for alert in case.raises]
    seen = [Seen(CHANGE, CHANGE, ()), Seen(CHANGE + SOON, SOON, alerts), Seen(END, END, alerts)]
    assert "" == fleet_case(tmp_path / "case.yml", series, seen, PACE)
