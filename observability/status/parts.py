"""What is shown over time: which numbers of a minute, under which name. Pure."""

from observability.status.chart import Part
from observability.status.snapshot import total
from observability.store import families
from observability.store.history import Minute

METHODS = tuple((protocol, method) for _, method, protocol in families.ATTEMPTS.values if _ == "rejected")
METHOD_WORDS = {"User": "USER", "Apop": "APOP", "Any": "before TLS"}
_DROPPED_OUT = "session"


def attempts(result: str, protocol: str = "", method: str = "") -> Part:
    """Return the attempts with a result, of one protocol and method where they are named."""
    name = "failed" if result == "rejected" else result
    return Part(
        name, name, lambda minute: total(minute.sums, families.ATTEMPTS.name, result, method, protocol)
    )


def _failures(reason: str) -> Part:
    return Part(reason, reason, lambda minute: total(minute.sums, families.FAILURES.name, reason))


def _other_failures(minute: Minute) -> float:
    known = (total(minute.sums, families.FAILURES.name, reason) for reason in ("credentials", _DROPPED_OUT))
    return total(minute.sums, families.FAILURES.name) - sum(known)


ACCEPTED = (attempts("accepted"),)
FAILED = (_failures("credentials"), _failures(_DROPPED_OUT), Part("others", "others", _other_failures))
OPEN = (Part("open", "open", lambda minute: minute.peak),)
