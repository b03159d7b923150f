"""What is wrong right now, in words: rules that turn a snapshot's numbers into sentences.

Pure. Each rule is a function that yields its findings; RULES lists them all. Sentences contain only fixed
words and numbers, never outside input; causes are in the sidecar's log. The rules judge one host at one
moment; alerts over time are in dashboards/rules.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from observability.spoolfile import MAX_SPOOL
from observability.status.snapshot import DAY_MINUTES, HOUR_MINUTES, Logins, Snapshot, total
from observability.status.words import amount, size, span
from observability.store import families

WARNING, CRITICAL = "warning", "critical"
UNREADABLE = "cannot read the log"
"""The prefix of such an error's name; a path follows."""

_QUARTER_MINUTES = 15
_MIN_LOGINS = 20  # with fewer, a share says little
_MIN_FAULTS = 5
_CHECKER_SHARE = 0.1
_SPIKE = 5  # times the day's average per quarter of an hour
_MIN_SPIKE = 50
_BROKEN_SHARE = 0.05
_SPOOL_BYTES = 1024 * 1024
_FULL_SHARE = 0.75
_NEAR_LIMIT = 0.9
_BUSY_SESSIONS = DAY_MINUTES  # per day: on such a host an hour without a session is suspicious
_SILENT_SECONDS = 3600.0
_CHECKERS_FAULT = ("temporary", "misuse", "crashed")

_ERRORS = {
    "spool": "The spool cannot be drained.",
    "push": "The last push failed.",
    "textfile": "The textfile could not be written.",
    "sync": "The store could not be synced to the disk.",
    "the JSON log": "The JSON log cannot be written.",
    "the span exporter": "Spans cannot be exported.",
    "certificates": "The certificates could not be read again; those read before are in use.",
    "credentials": "The credentials could not be read again; those read before are in use.",
    UNREADABLE: "A log cannot be read.",
    "state": "The store was removed or replaced.",
    "socket": "The socket was removed or replaced.",
    "store_lock": "The lock of the store was removed or replaced.",
    "pusher_lock": "The lock of the spool was removed or replaced.",
}
_OTHER, _OTHER_ERROR = "other", "Something else is wrong."
_PASSING = {"store", "events", "set aside"}  # covered by other rules, or already over


class Wrong(NamedTuple):
    """One finding; level: warning or critical."""

    level: str
    text: str


def find(snapshot: Snapshot) -> list[Wrong]:
    """Return all findings, critical ones first."""
    found = [wrong for rule in RULES for wrong in rule(snapshot)]
    return sorted(found, key=lambda wrong: wrong.level != CRITICAL)


def errors(names: Iterable[str]) -> frozenset[str]:
    """Return the error names that may be shown to everyone: without paths."""
    return frozenset(_shown(name) for name in names if name not in _PASSING)


def _shown(name: str) -> str:
    if name.startswith(UNREADABLE):
        return UNREADABLE
    return name if name in _ERRORS else _OTHER


def _sidecar(snapshot: Snapshot) -> Iterator[Wrong]:
    if not snapshot.is_live:
        yield Wrong(CRITICAL, "No sidecar answers. What follows is from its store; popups use the spool.")


def _store(snapshot: Snapshot) -> Iterator[Wrong]:
    if not snapshot.takes_commits:
        yield Wrong(CRITICAL, "The store rejects commits: nothing is counted now, and popups use the spool.")


def _spool(snapshot: Snapshot) -> Iterator[Wrong]:
    waiting = snapshot.spool_bytes or 0
    if waiting >= _FULL_SHARE * MAX_SPOOL:
        yield Wrong(CRITICAL, f"The spool is nearly full: {size(waiting)} of {size(MAX_SPOOL)}.")
    elif waiting >= _SPOOL_BYTES:
        yield Wrong(WARNING, f"{size(waiting)} are waiting in the spool.")


def _no_success(snapshot: Snapshot) -> Iterator[Wrong]:
    logins = Logins.of(snapshot.added(_QUARTER_MINUTES))
    if not logins.accepted and logins.failed >= _MIN_LOGINS:
        yield Wrong(CRITICAL, f"No login succeeded in the last 15 minutes; {amount(logins.failed)} failed.")


def _checker(snapshot: Snapshot) -> Iterator[Wrong]:
    sums = snapshot.added(_QUARTER_MINUTES)
    faults = sum(total(sums, families.FAILURES.name, reason) for reason in _CHECKERS_FAULT)
    logins = Logins.of(sums).total
    if faults >= _MIN_FAULTS and faults >= _CHECKER_SHARE * logins:
        text = f"The checker is failing: {amount(faults)} of {amount(logins)} logins in the last 15 minutes."
        yield Wrong(CRITICAL, text)


def _guessing(snapshot: Snapshot) -> Iterator[Wrong]:
    quarter, day = snapshot.added(_QUARTER_MINUTES), snapshot.added(DAY_MINUTES)
    failed, in_day = (total(sums, families.FAILURES.name, "credentials") for sums in (quarter, day))
    usual = (in_day - failed) / (DAY_MINUTES / _QUARTER_MINUTES - 1)
    if failed >= max(_MIN_SPIKE, _SPIKE * usual):
        text = f"{amount(failed)} wrong passwords in the last 15 minutes; {amount(usual)} are usual."
        yield Wrong(WARNING, text)


def _broken(snapshot: Snapshot) -> Iterator[Wrong]:
    sums = snapshot.added(HOUR_MINUTES)
    sessions = total(sums, families.SESSIONS.name)
    kinds = {
        "tls_failed": "failed at the TLS handshake",
        "killed": "were killed",
        "error": "failed with an error",
    }
    for ended, words in kinds.items():
        count = total(sums, families.SESSIONS.name, ended)
        if count >= _MIN_FAULTS and count >= _BROKEN_SHARE * sessions:
            yield Wrong(WARNING, f"{amount(count)} of {amount(sessions)} sessions {words} in the last hour.")


def _limit(snapshot: Snapshot) -> Iterator[Wrong]:
    active, limit = snapshot.active, snapshot.limit
    if active is not None and limit and active >= _NEAR_LIMIT * limit:
        yield Wrong(CRITICAL, f"{amount(active)} sessions are open, and the limit is {amount(limit)}.")


def _silence(snapshot: Snapshot) -> Iterator[Wrong]:
    age = snapshot.age_seconds
    is_busy = total(snapshot.added(DAY_MINUTES), families.SESSIONS.name) >= _BUSY_SESSIONS
    if age is not None and age >= _SILENT_SECONDS and is_busy:
        yield Wrong(WARNING, f"No session has ended for {span(age)}.")


def _lost(snapshot: Snapshot) -> Iterator[Wrong]:
    hour, day = snapshot.added(HOUR_MINUTES), snapshot.added(DAY_MINUTES)
    if full := total(day, families.DROPPED.name, "spool_full"):
        text = f"{amount(full)} events were lost in the last 24 hours: the spool was full or not writable."
        yield Wrong(WARNING, text)
    if malformed := total(hour, families.DROPPED.name, "malformed"):
        yield Wrong(WARNING, f"{amount(malformed)} malformed events arrived in the last hour.")
    if spans := total(hour, families.SPANS_DROPPED.name):
        yield Wrong(WARNING, f"{amount(spans)} spans were dropped in the last hour.")


def _errors(snapshot: Snapshot) -> Iterator[Wrong]:
    for text in sorted({_ERRORS.get(name, _OTHER_ERROR) for name in snapshot.errors}):
        yield Wrong(WARNING, f"{text} The sidecar's log says why.")


RULES = (
    _sidecar,
    _store,
    _spool,
    _no_success,
    _checker,
    _limit,
    _guessing,
    _broken,
    _silence,
    _lost,
    _errors,
)
