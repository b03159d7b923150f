"""All that page, terminal and plugin show, at one moment: numbers alone.

Pure. Nothing in here is a name, an address or a message, so nothing that shows it can give one away.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from observability.store import families
from observability.store.families import Series
from observability.store.history import MINUTE, Minute

HOUR_MINUTES, DAY_MINUTES = 60, 24 * 60
NOW_MINUTES = 5


class Snapshot(NamedTuple):
    """What is known at one moment; None is what nobody knows where the snapshot was taken.

    is_live: whether a sidecar told it, or the store of one that does not answer; errors: names of
    what the sidecar has in its log as wrong now
    """

    now: float  # seconds since 1970
    version: str
    values: Mapping[Series, float]  # the totals
    minutes: Sequence[Minute]  # in their order, and the one under way
    last_event: float  # seconds since 1970; 0: there was none
    born: float | None = None  # seconds since 1970: since when it counts
    active: int | None = None
    limit: int | None = None
    spool_bytes: int | None = None
    is_live: bool = True
    takes_commits: bool = True
    pushes: bool | None = None
    spans: bool | None = None
    errors: frozenset[str] = frozenset()

    def added(self, minutes: int) -> Counter[Series]:
        """Return what the last so many minutes added, the one under way included."""
        since = int(self.now // MINUTE) - minutes
        total: Counter[Series] = Counter()
        for minute in reversed(self.minutes):
            if minute.minute <= since:
                break
            total.update(minute.sums)
        return total

    @property
    def age_seconds(self) -> float | None:
        """How long ago an event last arrived; None where none ever has."""
        return max(0.0, self.now - self.last_event) if self.last_event else None

    @property
    def failed_share(self) -> float | None:
        """The part of the logins of the last minutes that failed; None where there were none."""
        logins = Logins.of(self.added(NOW_MINUTES))
        return logins.failed / logins.total if logins.total else None


class Logins(NamedTuple):
    """Login attempts of some time."""

    accepted: int
    failed: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.accepted + self.failed

    @classmethod
    def of(cls, sums: Mapping[Series, float], method: str = "", protocol: str = "") -> "Logins":
        """Return those among sums, of one method and protocol where they are named."""
        found: Counter[str] = Counter()
        for (name, *labels), value in sums.items():
            if name == families.ATTEMPTS.name and _fits(labels[1:], (method, protocol)):
                found[labels[0]] += int(value)
        return cls(found["accepted"], found["rejected"])


def total(sums: Mapping[Series, float], family: str, *labels: str) -> int:
    """Return the sum of a family's series; labels: their first values, "" for any."""
    return sum(
        int(value)
        for (name, *has), value in sums.items()
        if name == family and _fits(has[: len(labels)], labels)
    )


def _fits(values: Sequence[str], wanted: Sequence[str]) -> bool:
    return all(value == want or not want for value, want in zip(values, wanted, strict=True))
