"""What is wrong right now: each rule in words, and not yet where it is not."""

import pytest

from observability.status.snapshot import Snapshot
from observability.status.wrong import CRITICAL, WARNING, errors, find
from observability.store import families
from tests.support.snapshots import NOW, accepted, ended, refused, snapshot

MIB = 1024 * 1024
USUAL = {
    ago: {accepted(): 30, **refused("credentials", 1), **ended("accepted", 30)} for ago in range(1, 1400)
}


def dropped(reason: str, count: float) -> dict[tuple[str, ...], float]:
    """Return the sums of so many events that did not count."""
    return {(families.DROPPED.name, reason): count}


def said(found: Snapshot) -> list[tuple[str, str]]:
    """Return what is wrong."""
    return [(wrong.level, wrong.text) for wrong in find(found)]


@pytest.mark.parametrize("sums", [{}, USUAL])
def test_nothing_is_wrong_with_a_quiet_host_and_a_usual_day(
    sums: dict[int, dict[tuple[str, ...], float]],
) -> None:
    """Nobody is told anything."""
    assert [] == said(snapshot(sums))


@pytest.mark.parametrize(
    ("quiet", "wrong", "expected"),
    [
        (snapshot({}, is_live=True), snapshot({}, is_live=False), "No sidecar answers"),
        (snapshot({}), snapshot({}, takes_commits=False), "rejects commits"),
        (
            snapshot({}, spool_bytes=MIB - 1),
            snapshot({}, spool_bytes=MIB),
            "1.0 MiB are waiting in the spool",
        ),
        (
            snapshot({}, active=179, limit=200),
            snapshot({}, active=180, limit=200),
            "180 sessions are open, and the limit is 200.",
        ),
        (
            snapshot({3: refused("credentials", 19)}),
            snapshot({3: refused("credentials", 20)}),
            "No login succeeded in the last 15 minutes; 20 failed.",
        ),
        (
            snapshot({3: {accepted(): 46, **refused("temporary", 4)}}),
            snapshot({3: {accepted(): 45, **refused("crashed", 5)}}),
            "The checker is failing: 5 of 50 logins in the last 15 minutes.",
        ),
        (
            snapshot({**USUAL, 2: {accepted(): 9, **refused("credentials", 55)}}),
            snapshot({**USUAL, 2: {accepted(): 9, **refused("credentials", 70)}}),
            "83 wrong passwords in the last 15 minutes; 15 are usual.",
        ),
        (
            snapshot({9: {**ended("accepted", 96), **ended("tls_failed", 4)}}),
            snapshot({9: {**ended("accepted", 95), **ended("tls_failed", 5)}}),
            "5 of 100 sessions failed at the TLS handshake in the last hour.",
        ),
        (
            snapshot(USUAL, last_event=NOW - 3599),
            snapshot(USUAL, last_event=NOW - 3601),
            "No session has ended for 1 hour.",
        ),
        (
            snapshot({1441: dropped("spool_full", 3)}),
            snapshot({99: dropped("spool_full", 3)}),
            "3 events were lost",
        ),
        (
            snapshot({61: dropped("malformed", 3)}),
            snapshot({5: dropped("malformed", 3)}),
            "3 malformed events",
        ),
        (
            snapshot({5: dropped("duplicate", 9)}),
            snapshot({5: {(families.SPANS_DROPPED.name,): 9}}),
            "9 spans were dropped",
        ),
        (snapshot({}), snapshot({}, errors=frozenset({"push"})), "The last push failed."),
    ],
)
def test_each_is_told_when_it_is_so_and_not_before(quiet: Snapshot, wrong: Snapshot, expected: str) -> None:
    """One sentence, with its numbers."""
    assert [] == said(quiet)
    (found,) = said(wrong)
    assert expected in found[1]


def test_the_worst_comes_first() -> None:
    """A store that takes nothing before a spool that waits."""
    found = said(snapshot({}, takes_commits=False, spool_bytes=2 * MIB, is_live=False))
    assert [CRITICAL, CRITICAL, WARNING] == [level for level, _ in found]


def test_a_spool_that_is_nearly_full_is_worse_than_one_that_waits() -> None:
    """At three quarters of its limit."""
    assert [(CRITICAL, "The spool is nearly full: 48 MiB of 64 MiB.")] == said(
        snapshot({}, spool_bytes=48 * MIB)
    )


def test_a_log_that_cannot_be_read() -> None:
    """It is told in words of its own, without its path."""
    found = errors(["cannot read the log /var/log/secret", "cannot read the log /var/log/other"])
    texts = [text for _, text in said(snapshot({}, errors=found))]
    assert ["A log cannot be read. The sidecar's log says why."] == texts


def test_a_name_that_nobody_foresaw_is_shown_to_nobody() -> None:
    """It may hold a path; that something is wrong is told anyway."""
    found = errors(["push", "cannot read /var/log/secret", "events"])
    assert {"push", "other"} == found
    texts = " ".join(text for _, text in said(snapshot({}, errors=found)))
    assert "secret" not in texts
    assert "Something else is wrong. The sidecar's log says why." in texts
