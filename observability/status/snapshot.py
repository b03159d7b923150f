"""What page, terminal and plugin show at one moment: only numbers.

Pure. A snapshot contains no name, address or message, so nothing that shows it can leak one.
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
    """The state at one moment; None if unknown at its source.

    is_live: whether it is from a running sidecar, rather than from the store; errors: names of the sidecar's
    current errors
    """

    now: float  # seconds since 1970
    version: str
    values: Mapping[Series, float]  # the totals
    minutes: Sequence[Minute]  # in order, the current one included
    last_event: float  # seconds since 1970; 0: none yet
    born: float | None = None  # seconds since 1970, when counting began
    active: int | None = None
    limit: int | None = None
    spool_bytes: int | None = None
    is_live: bool = True
    takes_commits: bool = True
    pushes: bool | None = None
    spans: bool | None = None
    errors: frozenset[str] = frozenset()

    def added(self, minutes: int) -> Counter[Series]:
        """Return the sums of the last `minutes` minutes, the current one included."""
        since = int(self.now // MINUTE) - minutes
        total: Counter[Series] = Counter()
        for minute in reversed(self.minutes):
            if minute.minute <= since:
                break
            total.update(minute.sums)
        return total

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the last event arrived; None if none ever has."""
        return max(0.0, self.now - self.last_event) if self.last_event else None

    @property
    def failed_share(self) -> float | None:
        """The share of logins in the last minutes that failed; None if there were none."""
        logins = Logins.of(self.added(NOW_MINUTES))
        return logins.failed / logins.total if logins.total else None


class Logins(NamedTuple):
    """Login attempts in some period."""

    accepted: int
    failed: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.accepted + self.failed

    @classmethod
    def of(cls, sums: Mapping[Series, float], method: str = "", protocol: str = "") -> "Logins":
        """Return those in sums, optionally of one method and protocol."""
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
