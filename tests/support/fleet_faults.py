"""Faults on a host of the fleet, and the alerts that each should raise.

Each fault changes a host's minutes from its beginning on, and lists exactly the alerts that it raises. Some
events are not faults, and must raise none.
"""

from collections.abc import Callable
from typing import NamedTuple

from tests.support.fleet_series import Fault, Host, Minute

Change = Callable[[int, Minute], None]
"""Changes a minute, given the number of minutes since the fault's beginning."""


class Case(NamedTuple):
    """A fault, and the alerts that it raises within twenty minutes; later: those that its end raises."""

    change: Change
    raises: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    pushes: bool = False
    plain: float = 0


def beginning(change: Change, at: int) -> Fault:
    """Return a fault that begins at minute `at`."""

    def fault(_host: Host, now: int, minute: Minute) -> None:
        if now >= at:
            change(now - at, minute)

    return fault


def _guessing(times: int) -> Change:
    def change(_after: int, minute: Minute) -> None:
        minute.refused += times

    return change


def _broken(_after: int, minute: Minute) -> None:
    minute.broken += minute.accepted + minute.refused
    minute.accepted = minute.plain = minute.refused = 0


def _overloaded(_after: int, minute: Minute) -> None:
    minute.broken += minute.accepted // 4
    minute.accepted -= minute.accepted // 4
    minute.plain = min(minute.plain, minute.accepted)


def _empty(_after: int, minute: Minute) -> None:
    minute.refused += minute.accepted
    minute.accepted = minute.plain = 0


def _disconnected(after: int, minute: Minute) -> None:
    minute.dropped += 600 * (after == 0)


def _expired(_after: int, minute: Minute) -> None:
    minute.tls_failed += minute.accepted - minute.plain
    minute.accepted = minute.plain


def _scanned(after: int, minute: Minute) -> None:
    minute.tls_failed += 6 * (after < 30)


def _killed(_after: int, minute: Minute) -> None:
    minute.killed += 3


def _in_clear(_after: int, minute: Minute) -> None:
    minute.plain = minute.accepted // 2


def _left(_after: int, minute: Minute) -> None:
    minute.accepted = minute.plain = minute.refused = minute.dropped = minute.tls_failed = 0


def _crowded(_after: int, minute: Minute) -> None:
    minute.active = 170


def _full(after: int, minute: Minute) -> None:
    minute.spool_full += 3 * (after == 0)


def _malformed(after: int, minute: Minute) -> None:
    minute.malformed += 3 * (after == 0)


def _nonsense(_after: int, minute: Minute) -> None:
    minute.malformed += 1


def _undrained(after: int, minute: Minute) -> None:
    minute.spool = 5000.0 * after


def _drained(after: int, minute: Minute) -> None:
    minute.spool = 40e6 * (after < 2)


def _untraced(_after: int, minute: Minute) -> None:
    minute.spans += 20


def _away(minutes: int) -> Change:
    def change(after: int, minute: Minute) -> None:
        minute.is_seen = after >= minutes

    return change


def _away_and_full(after: int, minute: Minute) -> None:
    minute.is_seen = after >= 90
    minute.spool_full += 50 * (after == 60)


def _reset(after: int, minute: Minute) -> None:
    minute.is_reset = after == 0


NO_PAST = (
    *("killed", "crowded", "spool-full", "nonsense", "three-malformed"),
    *("undrained", "drained", "untraced", "restarted"),
)
"""Cases whose rules read nothing older than an hour."""

_ATTACK = ("AuthRejectSpike", "InstanceRejectOutlier")
_LONG = 10**6

CASES = {
    "attacked": Case(_guessing(60), _ATTACK),
    "attacked-slowly": Case(_guessing(12), _ATTACK),
    "checker-down": Case(_broken, ("SubprogramFailing", "AuthAllFailing")),
    "checker-overloaded": Case(_overloaded, ("SubprogramFailing",)),
    "checker-empty": Case(_empty, ("AuthAllFailing",)),
    "disconnected": Case(_disconnected),
    "certificate-expired": Case(_expired, ("TlsFailing",)),
    "scanned": Case(_scanned),
    "killed": Case(_killed, ("SessionsBroken",)),
    "in-clear": Case(_in_clear, ("PlaintextLogins",)),
    "in-clear-by-design": Case(_in_clear, plain=0.4),
    "nobody-there": Case(_left, ("TrafficAbsent",)),
    "crowded": Case(_crowded, ("SessionsNearLimit",)),
    "spool-full": Case(_full, ("TelemetryLoss",)),
    "nonsense": Case(_nonsense, ("TelemetryLoss",)),
    "three-malformed": Case(_malformed),
    "undrained": Case(_undrained, ("SpoolGrowing",)),
    "drained": Case(_drained),
    "untraced": Case(_untraced, ("SpansDropped",)),
    "restarted": Case(_away(3)),
    "away": Case(_away(90), ("SidecarDown",)),
    "away-and-full": Case(_away_and_full, ("SidecarDown",), later=("TelemetryLoss",)),
    "down": Case(_away(_LONG), ("SidecarDown",)),
    "silent": Case(_away(_LONG), ("PushStale",), pushes=True),
    "silent-for-long": Case(_away(90), ("PushStale",), pushes=True),
    "reset": Case(_reset),
}
