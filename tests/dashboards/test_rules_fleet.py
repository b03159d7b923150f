"""The alerts over a day and more of a whole fleet: each fault raises its own, and all else stays quiet."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.fleet_faults import CASES, NO_PAST, beginning
from tests.support.fleet_series import DAY, JOB, Fleet, Host, Values, series
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


# Without any of our metrics there would be an alert; in a job of its own it is nobody's measure.
WITNESS = Host("witness:9110", 5, job="witness")


def _instance(name: str) -> str:
    return name if CASES[name].pushes else f"{name}:9110"


def _struck(name: str) -> Host:
    return Host(_instance(name), 30, plain=CASES[name].plain, pushes=CASES[name].pushes)


def _faulty(fleet: Fleet, cases: Sequence[str], at: int, minutes: int) -> dict[str, Values]:
    return series(fleet, minutes, {_instance(name): beginning(CASES[name].change, at) for name in cases})


def _raised(cases: Sequence[str], at: int, minutes: int) -> list[Seen]:
    """Return what is to be seen: nothing until then, all that is due soon, and nothing else to the end."""
    due = [(alert, _instance(name)) for name in cases for alert in CASES[name].raises]
    later = [(alert, _instance(name)) for name in cases for alert in CASES[name].later]
    end = minutes - 1
    return [Seen(at - 1, at, ()), Seen(at + SOON, SOON, due), Seen(end, end, due + later)]


class Day(NamedTuple):
    """The minute at which all happens, minutes between evaluations, how traffic grew, and who takes part."""

    at: int
    evaluation: int
    growth: float
    calm: Sequence[Host]
    cases: Sequence[str]
    unseen: range = range(0)  # minutes in which nothing is known but of WITNESS


DAYS = {
    "the first day, without history": Day(90, 4, 1, CALM, tuple(CASES)),
    "the second day, with twice the traffic": Day(
        25 * 60,
        5,
        2,
        CALM[:4],
        [name for name in CASES if name not in NO_PAST],
        # Rules look back to this hour of yesterday, and to the last three hours. What lies between would take
        # two thirds of the time; that such hours are quiet is asked below.
        range(4 * 60, 22 * 60),
    ),
}


@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS.keys())
def test_each_fault_raises_its_own_alerts(tmp_path: Path, day: Day) -> None:
    """A host for each fault, all of them at the same minute, beside hosts to which nothing happens."""
    hosts = (*day.calm, *map(_struck, day.cases), Host("joins:9110", 25, joins=day.at), WITNESS)
    minutes = day.at + 2 * 60
    lived = _faulty(Fleet(hosts, hour=8, growth=day.growth), day.cases, day.at, minutes)
    for name, values in lived.items():
        if WITNESS.instance not in name:
            values[day.unseen.start : day.unseen.stop] = [None] * len(day.unseen)
    seen = _raised(day.cases, day.at, minutes)
    assert "" == fleet_case(tmp_path / "case.yml", lived, seen, (EVERY, day.evaluation))


def test_a_calm_day_and_the_next_morning_are_quiet(tmp_path: Path) -> None:
    """From the first minute on, to a Monday with five times the traffic and a holiday with a quarter of it.

    The holiday's hosts are a job of their own; but pushing hosts are of one job, whatever they are.
    """
    minutes = DAY + 3 * 60
    off = [
        host._replace(instance=f"off-{host.instance}", job=JOB if host.pushes else "holiday") for host in CALM
    ]
    lived = series(Fleet(CALM, hour=6, growth=5), minutes, {})
    lived |= series(Fleet(tuple(off), hour=13, growth=0.25), minutes, {})
    assert "" == fleet_case(tmp_path / "case.yml", lived, [Seen(minutes - EVERY, minutes, ())], (EVERY, 5))
