"""The series shown over time: which numbers of a minute, under which name. Pure."""

from collections.abc import Callable, Collection, Iterable

from observability.status.chart import Part
from observability.store import families
from observability.store.families import Family, Labels
from observability.store.history import Minute

METHODS = tuple((protocol, method) for _, method, protocol in families.ATTEMPTS.values if _ == "rejected")
METHOD_WORDS = {"User": "USER", "Apop": "APOP", "Any": "before TLS"}


def attempts(result: str, protocol: str = "", method: str = "") -> Part:
    """Return the attempts with this result, optionally of one protocol and method."""
    name = "failed" if result == "rejected" else result
    wanted = (result, method, protocol)
    fitting = (has for has in families.ATTEMPTS.values if all(map(_fits, has, wanted)))
    return Part(name, name, _sum(families.ATTEMPTS, fitting))


def _fits(label: str, wanted: str) -> bool:
    return wanted in ("", label)


def _failures(name: str, reasons: Collection[str]) -> Part:
    fitting = (labels for labels in families.FAILURES.values if labels[0] in reasons)
    return Part(name, name, _sum(families.FAILURES, fitting))


def _sum(family: Family, labels: Iterable[Labels]) -> Callable[[Minute], float]:
    """Return a function that sums these series, looked up by key: a page needs some 40,000 such sums."""
    series = [(family.name, *each) for each in labels]
    return lambda minute: sum(minute.sums.get(each, 0) for each in series)


ACCEPTED = (attempts("accepted"),)
FAILED = (
    _failures("credentials", {"credentials"}),
    _failures("session", {"session"}),
    _failures("others", {labels[0] for labels in families.FAILURES.values} - {"credentials", "session"}),
)
OPEN = (Part("open", "open", lambda minute: minute.peak),)
