"""Version, store, spool, push and OTLP in one line each, and the reasons in words. Pure."""

from collections.abc import Iterator

from observability.status.snapshot import Snapshot, total
from observability.status.words import amount, moment, plural, size
from observability.store import families

REASONS = {
    "credentials": "wrong name or password",
    "session": "client disconnected after login",
    "temporary": "checker: temporary failure",
    "misuse": "checker: misused",
    "crashed": "checker: crashed",
    "tls_required": "login without TLS refused",
}


def lines(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield names and lines."""
    yield "Version", snapshot.version or "unknown"
    yield "Store", _store(snapshot)
    yield "Spool", _spool(snapshot)
    yield "Push", _push(snapshot)
    yield "OTLP", _otlp(snapshot)


def _store(snapshot: Snapshot) -> str:
    state = "accepts commits" if snapshot.takes_commits else "rejects commits"
    state = state if snapshot.is_live else "read from its file"
    since = f" · counts since {moment(snapshot.born)}" if snapshot.born else ""
    failed = total(snapshot.values, families.COMMITS_FAILED.name)
    return f"{state}{since} · {plural(failed, 'commit')} failed"


def _spool(snapshot: Snapshot) -> str:
    waiting = snapshot.spool_bytes
    state = "unknown" if waiting is None else f"{size(waiting)} waiting" if waiting else "empty"
    lost = total(snapshot.values, families.DROPPED.name, "spool_full")
    return f"{state} · {plural(lost, 'event')} lost"


def _push(snapshot: Snapshot) -> str:
    ok, failed = (total(snapshot.values, families.PUSHES.name, result) for result in ("ok", "failed"))
    is_on = bool(ok + failed) if snapshot.pushes is None else snapshot.pushes
    if not is_on:
        return "off"
    state = "the last one failed" if "push" in snapshot.errors else "on"
    return f"{state} · {amount(ok)} succeeded, {amount(failed)} failed"


def _otlp(snapshot: Snapshot) -> str:
    dropped = total(snapshot.values, families.SPANS_DROPPED.name)
    state = {True: "on · ", False: "off · ", None: ""}[snapshot.spans]
    return "off" if snapshot.spans is False and not dropped else f"{state}{plural(dropped, 'span')} dropped"
