"""The alerts over a day and more of a whole fleet: each fault raises its own, and all else stays quiet."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.fleet_faults import CASES, NO_PAST, beginning
from tests.support.fleet_series import DAY, JOB, Fault, Fleet, Host, series
from tests.support.promtool import Seen, fleet_case

EVERY = 2
"""Minutes between two samples."""

SOON = 20
"""Minutes until an alert has to have fired."""

# Nothing ever happens to these. (Those of the faults are the usual kind, with thirty logins a minute.)
CALM = (
    Host("mail1.example.org:9110", 60, bots=2),
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


def _faults(cases: Sequence[str], at: int) -> dict[str, Fault]:
    return {_instance(name): beginning(CASES[name].change, at) for name in cases}


def _raised(cases: Sequence[str], at: int, minutes: int) -> list[Seen]:
    """Return what is to be seen: nothing until then, all that is due soon, and nothing else to the end."""
    due = [(alert, _instance(name)) for name in cases for alert in CASES[name].raises]
    later = [(alert, _instance(name)) for name in cases for alert in CASES[name].later]
    end = minutes - 1
    return [Seen(at - 1, at, ()), Seen(at + SOON, SOON, due), Seen(end, end, due + later)]


def test_each_fault_raises_its_own_alerts_on_the_first_day(tmp_path: Path) -> None:
    """A host for each fault, all of them at the same minute, beside hosts to which nothing happens."""
    at, cases = 90, tuple(CASES)
    minutes = at + 2 * 60
    hosts = (*CALM, *map(_struck, cases), Host("joins:9110", 25, joins=at))
    lived = series(Fleet(hosts, hour=8), minutes, _faults(cases, at))
    assert "" == fleet_case(tmp_path / "case.yml", lived, _raised(cases, at, minutes), (EVERY, 4))


def test_each_fault_raises_its_own_alerts_on_the_second_day(tmp_path: Path) -> None:
    """The same with a past and twice the traffic; where nothing happens, all is quiet from the first minute.

    Also on a Monday with five times the traffic, and on a holiday with a quarter of it. The holiday's hosts
    are a job of their own; but pushing hosts are of one job, whatever they are.
    """
    at = 25 * 60
    minutes = DAY + 3 * 60
    cases = [name for name in CASES if name not in NO_PAST]
    lived = series(Fleet(tuple(map(_struck, cases)), hour=8, growth=2), minutes, _faults(cases, at))
    off = [
        host._replace(instance=f"off-{host.instance}", job=JOB if host.pushes else "holiday") for host in CALM
    ]
    lived |= series(Fleet(tuple(off), hour=13, growth=0.25), minutes, {})
    # Rules look back to this hour of yesterday, and to the last three hours. What lies between need not be
    # known of hosts that are like others until then; one that takes passwords in clear is not.
    for name, values in lived.items():
        if "by-design" not in name:
            values[4 * 60 : 22 * 60] = [None] * (18 * 60)
    # These are the holiday's kinds of hosts, and are known all day: at night, too, no alert may fire.
    lived |= series(Fleet((*CALM, Host("joins:9110", 25, joins=at)), hour=6, growth=5), minutes, {})
    assert "" == fleet_case(tmp_path / "case.yml", lived, _raised(cases, at, minutes), (EVERY, 5))
