"""Counters of a fleet over hours, generated minute by minute, as a Prometheus would have scraped them.

Owns the model of a host's day: logins by the hour, refusals, bots, and the totals exported by its sidecar. A
fault changes a host's minute before it is counted. Must not know the rules, nor who reads the series.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

JOB = "qmail-popup"
DAY = 24 * 60

# One for each minute; None: no sample.
Values = list[float | None]


class Host(NamedTuple):
    """A host's normal traffic. Rates are per minute: logins at the peak of the day, bots at all times."""

    instance: str
    logins: float
    mistyped: float = 0.04  # refusals per login
    bots: float = 0.3
    plain: float = 0  # share of logins without TLS
    pushes: bool = False
    on_demand: bool = False  # if it pushes: by a pusher that runs only while there are sessions
    joins: int = 0  # minutes after the start
    job: str = JOB  # of pushing hosts


@dataclass
class Minute:
    """The events on a host within a minute."""

    accepted: float
    plain: float  # share of these without TLS
    refused: float  # within ten seconds, with status 1
    dropped: float  # long sessions that end in Reject
    tls_failed: float
    broken: float = 0  # refused, because the checker exited with 111
    killed: float = 0
    malformed: float = 0
    spool_full: float = 0
    spans: float = 0
    spool: float = 0  # bytes
    active: float = 0
    is_seen: bool = True  # by Prometheus, or by the gateway if the host pushes
    is_reset: bool = False  # the totals restart at 0


Fault = Callable[[Host, int, Minute], None]


class Fleet(NamedTuple):
    """Hosts; the hour of the day at the start; the second day's traffic relative to the first's."""

    hosts: tuple[Host, ...]
    hour: float
    growth: float = 1
    seed: int = 1


def series(fleet: Fleet, minutes: int, faults: Mapping[str, Fault]) -> dict[str, Values]:
    """Return the fleet's samples by series. faults: by instance."""
    made: dict[str, Values] = {}
    for host in fleet.hosts:
        lived = _lived(fleet, host, minutes, faults.get(host.instance))
        made |= _seen(host, lived)
    return made


def _lived(fleet: Fleet, host: Host, minutes: int, fault: Fault | None) -> Iterable[tuple[int, Minute]]:
    chance = Random(f"{fleet.seed} {host.instance}")  # noqa: S311  # simulated traffic, no secrets
    for now in range(minutes):
        growth = fleet.growth if now >= DAY else 1
        minute = _usual(host, host.logins * growth * _daylight(fleet.hour + now / 60), chance)
        minute.is_seen = now >= host.joins
        if fault:
            fault(host, now, minute)
        yield now, minute


def _usual(host: Host, logins: float, chance: Random) -> Minute:
    accepted = _happens(logins, chance)
    return Minute(
        accepted=accepted,
        plain=float(sum(chance.random() < host.plain for _ in range(int(accepted)))),
        refused=_happens(logins * host.mistyped + host.bots, chance),
        dropped=_happens(logins * 0.01, chance),
        tls_failed=_happens(logins * 0.01, chance),
        active=accepted / 2,
    )


def _daylight(hour: float) -> float:
    """Return the traffic relative to the peak: a twentieth at night, 1 at half past one."""
    sun = math.sin((hour % 24 - 6) / 15 * math.pi) if 6 <= hour % 24 <= 21 else 0.0
    return 0.05 + 0.95 * max(0.0, sun)


def _happens(mean: float, chance: Random) -> float:
    """Return a random count with this mean."""
    if mean > 30:
        return float(max(0, round(chance.gauss(mean, math.sqrt(mean)))))
    times, left = 0, math.exp(mean) * chance.random()
    while left > 1:
        times, left = times + 1, left * chance.random()
    return float(times)


def _seen(host: Host, lived: Iterable[tuple[int, Minute]]) -> dict[str, Values]:
    """Return the host's series. Unscraped minutes are counted anyway, and show later."""
    totals = Counter(dict.fromkeys(_counted(_NOTHING), 1000.0))
    made: dict[str, Values] = {}
    shown: dict[str, float] = {}
    for now, minute in lived:
        if minute.is_reset:
            totals = Counter(dict.fromkeys(totals, 0.0))
        totals.update(_counted(minute))
        if _is_news(host, minute):
            shown = {**totals, **_gauges(host, now, minute)}
        elif not host.pushes:  # for a pushing host the gateway keeps the last values
            shown = {"up": 0.0} if now >= host.joins else {}
        for name in made.keys() | shown.keys():
            made.setdefault(name, [None] * now).append(shown.get(name))
    return {_labelled(host, name): values for name, values in made.items()}


def _is_news(host: Host, minute: Minute) -> bool:
    return minute.is_seen and not (host.on_demand and sum(_sessions(minute).values()) == 0)


def _sessions(minute: Minute) -> dict[str, float]:
    """Return the number of sessions by labels."""
    return {
        'ended="accepted",protocol="POP3"': minute.plain,
        'ended="accepted",protocol="POP3S"': minute.accepted - minute.plain,
        'ended="rejected",protocol="POP3S"': minute.refused + minute.dropped + minute.broken,
        'ended="tls_failed",protocol="POP3"': minute.tls_failed,
        'ended="killed",protocol="POP3S"': minute.killed,
    }


def _counted(minute: Minute) -> dict[str, float]:
    """Return what a minute adds to the totals, by series name."""
    refused_at_once = minute.refused + minute.broken
    attempts = "qmail_popup_auth_attempts_total"
    refusals = "qmail_popup_auth_rejected_duration_seconds_bucket"
    failures = "qmail_popup_auth_failures_total"
    exits = "qmail_popup_subprogram_exits_total"
    dropped = "qmail_popup_telemetry_events_dropped_total"
    return {
        f'{attempts}{{result="accepted",method="User",protocol="POP3"}}': minute.plain,
        f'{attempts}{{result="accepted",method="User",protocol="POP3S"}}': minute.accepted - minute.plain,
        f'{attempts}{{result="rejected",method="User",protocol="POP3S"}}': refused_at_once + minute.dropped,
        f'{failures}{{reason="credentials",method="User",protocol="POP3S"}}': minute.refused,
        f'{failures}{{reason="temporary",method="User",protocol="POP3S"}}': minute.broken,
        f'{failures}{{reason="session",method="User",protocol="POP3S"}}': minute.dropped,
        f'{refusals}{{le="1.0",protocol="POP3S"}}': refused_at_once,
        f'{refusals}{{le="10.0",protocol="POP3S"}}': refused_at_once,
        f'{refusals}{{le="+Inf",protocol="POP3S"}}': refused_at_once + minute.dropped,
        f'{exits}{{status="0"}}': minute.accepted,
        f'{exits}{{status="1"}}': minute.refused + minute.dropped,
        f'{exits}{{status="111"}}': minute.broken,
        'qmail_popup_tls_sessions_total{version="TLSv1.3"}': minute.accepted - minute.plain,
        f'{dropped}{{reason="malformed"}}': minute.malformed,
        f'{dropped}{{reason="spool_full"}}': minute.spool_full,
        "qmail_popup_telemetry_spans_dropped_total": minute.spans,
        **{f"qmail_popup_sessions_total{{{labels}}}": times for labels, times in _sessions(minute).items()},
    }


def _gauges(host: Host, now: int, minute: Minute) -> dict[str, float]:
    return {
        "qmail_popup_telemetry_spool_bytes": minute.spool,
        "qmail_popup_build_info": 1,
        **({"push_time_seconds": now * 60.0} if host.pushes else {"up": 1}),
        **({} if host.on_demand else {"qmail_popup_sessions_active": minute.active}),
        **({} if host.on_demand else {"qmail_popup_sessions_limit": 200}),
    }


def _labelled(host: Host, name: str) -> str:
    bare, _, labels = name.rstrip("}").partition("{")
    return f'{bare}{{job="{host.job}",instance="{host.instance}"{"," if labels else ""}{labels}}}'


_NOTHING = Minute(accepted=0, plain=0, refused=0, dropped=0, tls_failed=0)
