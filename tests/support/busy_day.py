"""A store with a day and a night of a made-up mail host, the same at every run except for the time.

It includes a gap during which no sidecar ran, and an hour of password guessing.
"""

import math
import random
from collections import Counter
from pathlib import Path

from observability.store import families
from observability.store.families import Series
from observability.store.history import History
from tests.support.snapshots import accepted, ended, refused
from tests.support.stores import Time, opened

MINUTES = 24 * 60 - 30  # leaves room so that everything stays within the last 24 hours during a test
_KINDS = (("POP3S", "User", 0.7), ("POP3", "User", 0.2), ("POP3", "Apop", 0.1))
_GAP, _GUESSING = range(640, 690), range(200, 255)  # minutes ago


def store(path: Path, now: float) -> Counter[Series]:
    """Create a store whose last minute is `now`; return the increments."""
    chance, time, every = random.Random(4), Time(), Counter[Series]()  # noqa: S311  no secret
    time.now = now - 60 * MINUTES
    sessions = 0
    with opened(path, time.clocks()) as made:
        history = History(made, lambda: time.now, lambda: sessions)
        history.tick()
        for ago in range(MINUTES, 0, -1):
            if ago not in _GAP:
                added = _minute(chance, time.now, ago)
                sessions = round(added[families.SESSIONS.name, "accepted", "POP3"] * 1.4)
                made.count(added)
                every.update(added)
                history.tick()
            time.now += 60
        history.tick()
    return every


def _minute(chance: random.Random, now: float, ago: int) -> Counter[Series]:
    rate = 22 + 19 * math.sin((now / 86400 % 1 - 0.3) * 2 * math.pi)
    added: Counter[Series] = Counter()
    for protocol, method, part in _KINDS:
        wrong = _about(chance, rate * part * 0.03)
        if ago in _GUESSING and (protocol, method) == ("POP3", "User"):
            wrong += _about(chance, 26)
        added.update({accepted(protocol, method): _about(chance, rate * part)})
        added.update(refused("credentials", wrong, protocol, method))
        added.update(refused("session", _about(chance, rate * part * 0.006), protocol, method))
    added.update(refused("temporary", 1) if 9 < rate and chance.random() < rate / 400 else {})
    added.update(ended("accepted", _about(chance, rate)))
    return added


def _about(chance: random.Random, mean: float) -> int:
    return max(0, round(chance.gauss(mean, math.sqrt(mean))))
