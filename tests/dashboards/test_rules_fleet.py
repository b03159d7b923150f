"""The alerts over thirty hours of a whole fleet: each fault raises its own, and all else stays quiet."""

from pathlib import Path

import pytest

from tests.support.fleet_faults import CASES, beginning
from tests.support.fleet_series import DAY, Fleet, Host, Values, series
from tests.support.promtool import Seen, fleet_case

EVERY = 2
"""Minutes between two samples."""

SOON = 20
"""Minutes until an alert has to have fired."""

# Nothing ever happens to these.
CALM = (
    Host("mail1.example.org:9110", 60, bots=2),
    Host("mail2.example.org:9110", 30),
    Host("small:9110", 0.5, bots=0.05),
    Host("bots:9110", 6, bots=8),
    Host("mixed:9110", 20, plain=0.4),
    Host("plain:9110", 10, plain=1),
    Host("mistyped:9110", 20, mistyped=0.3),
    Host("pushes", 25, pushes=True),
    Host("demands", 3, bots=0.1, pushes=True, on_demand=True),
)


def _instance(name: str) -> str:
    return name if CASES[name].pushes else f"{name}:9110"


def _struck(name: str) -> Host:
    return Host(_instance(name), 30, plain=CASES[name].plain, pushes=CASES[name].pushes)


def _faulty(fleet: Fleet, at: int, minutes: int) -> dict[str, Values]:
    faults = {_instance(name): beginning(case.change, at) for name, case in CASES.items()}
    return series(fleet, minutes, faults)


def _raised(at: int, minutes: int) -> list[Seen]:
    """Return what is to be seen: nothing until then, all that is due soon, and nothing else to the end."""
    due = [(alert, _instance(name)) for name, case in CASES.items() for alert in case.raises]
    later = [(alert, _instance(name)) for name, case in CASES.items() for alert in case.later]
    end = minutes - 1
    return [Seen(at - 1, at, ()), Seen(at + SOON, SOON, due), Seen(end, end, due + later)]


@pytest.mark.parametrize(
    ("at", "evaluation", "growth"),
    [(2 * 60, 2, 1), (25 * 60, 5, 2)],
    ids=["the first day, without history", "the second day, with twice the traffic"],
)
def test_each_fault_raises_its_own_alerts(tmp_path: Path, at: int, evaluation: int, growth: float) -> None:
    """A host for each fault, all of them at the same minute, beside hosts to which nothing happens."""
    hosts = (*CALM, *map(_struck, CASES), Host("joins:9110", 25, joins=at))
    minutes = at + 2 * 60
    fleet = Fleet(hosts, hour=8, growth=growth)
    seen = _raised(at, minutes)
    assert "" == fleet_case(tmp_path / "case.yml", _faulty(fleet, at, minutes), seen, (EVERY, evaluation))


def test_thirty_calm_hours_are_quiet(tmp_path: Path) -> None:
    """Through a night, to a Monday morning with five times the traffic, and to a holiday with a quarter of it.

    The latter's hosts are a job of their own, but for those that push.
    """
    minutes = DAY + 6 * 60
    off = [host._replace(instance=f"off-{host.instance}", job=host.job + "-off" * (not host.pushes)) for host in CALM]
    lived = series(Fleet(CALM, hour=0, growth=5), minutes, {})
    lived |= series(Fleet(tuple(off), hour=13, growth=0.25), minutes, {})
    assert "" == fleet_case(tmp_path / "case.yml", lived, [Seen(minutes - EVERY, minutes, ())], (EVERY, 5))
