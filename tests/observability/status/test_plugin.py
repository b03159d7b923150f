"""What a monitoring system is told: status, first line and numbers."""

import re

import pytest

from observability.options.inspection import Threshold
from observability.status.plugin import judge, measure
from observability.status.snapshot import Snapshot
from tests.support.snapshots import NOW, accepted, refused, snapshot

BUSY = snapshot({2: {accepted(): 90, **refused("credentials", 10)}}, active=31, limit=200, spool_bytes=4096)
# As the guidelines have it: 'name'=value[unit];[warning];[critical];[min];[max]
PERFDATA = re.compile(r"[a-z_]+=[0-9.]+(?:s|B)?;[0-9.]*;[0-9.]*;[0-9.]*;[0-9.]*").fullmatch


def first(found: Snapshot, warning: list[Threshold], critical: list[Threshold]) -> tuple[int, str]:
    """Return status and first line."""
    status, text = judge(found, warning, critical)
    return status, text.splitlines()[0]


def test_the_first_line_has_all_numbers() -> None:
    """With their units and thresholds, also where nothing is wrong."""
    status, line = first(BUSY, [("failed_share", 0.2), ("sessions", 150)], [("sessions", 190)])
    text, _, numbers = line.partition(" | ")
    assert 0 == status
    assert "QMAIL_POPUP OK - failed_share 0.1, sessions 31, age_seconds 5, spool_bytes 4096" == text
    assert all(PERFDATA(each) for each in numbers.split())
    assert [
        "failed_share=0.1;0.2;;0;1",
        "sessions=31;150;190;0;200",
        "age_seconds=5s;;;0;",
        "spool_bytes=4096B;;;0;",
    ] == numbers.split()


@pytest.mark.parametrize(
    ("warning", "critical", "expected"),
    [
        ([("sessions", 31)], [], (0, "OK - failed_share 0.1")),
        ([("sessions", 30)], [], (1, "WARNING - sessions is 31, over 30 |")),
        ([("sessions", 10)], [("sessions", 30)], (2, "CRITICAL - sessions is 31, over 30 |")),
        ([("sessions", 30), ("spool_bytes", 0)], [("failed_share", 0.5)], (1, "spool_bytes is 4096, over 0")),
        (
            [],
            [("failed_share", 0.09), ("age_seconds", 4)],
            (2, "failed_share is 0.1, over 0.09, age_seconds is 5"),
        ),
    ],
)
def test_a_number_over_its_threshold_decides(
    warning: list[Threshold], critical: list[Threshold], expected: tuple[int, str]
) -> None:
    """The worst of all; a number that is just as high is not over it."""
    status, line = first(BUSY, warning, critical)
    assert expected[0] == status
    assert expected[1] in line


def test_where_no_sidecar_answers_nothing_is_known() -> None:
    """Whatever its store says."""
    assert (3, "QMAIL_POPUP UNKNOWN - no sidecar answers") == first(
        BUSY._replace(is_live=False), [("sessions", 1)], []
    )


def test_a_number_that_nobody_knows_is_not_0() -> None:
    """As the sessions of a log that does not tell of their ends."""
    status, line = first(BUSY._replace(active=None), [("sessions", 1)], [])
    assert (3, "QMAIL_POPUP UNKNOWN - sessions is unknown") == (status, line)
    assert 0 == first(BUSY._replace(active=None), [("spool_bytes", 9999)], [])[0]


def test_what_never_was_is_told_from_the_beginning() -> None:
    """No login failed where nobody logged in; the age of no event is that of the store."""
    fresh = snapshot({}, last_event=0.0, born=NOW - 40)
    assert (0.0, 40.0) == (measure(fresh)["failed_share"], measure(fresh)["age_seconds"])


def test_what_is_wrong_stands_below() -> None:
    """In a line each; they change no status."""
    status, text = judge(BUSY._replace(takes_commits=False), [("sessions", 99)], [])
    assert 0 == status
    assert text.splitlines()[1].startswith("critical: The store rejects commits")
