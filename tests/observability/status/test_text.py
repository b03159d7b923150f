"""A snapshot in a terminal."""

from observability.status.text import BLOCKS, PLAIN, text
from tests.support.snapshots import accepted, refused, snapshot

DAY = snapshot(
    {
        2: {accepted(): 1200, **refused("credentials", 30)},
        50: {accepted("POP3S"): 40, **refused("temporary", 7, "POP3S")},
        61: {accepted(): 600},
    },
    active=31,
    limit=200,
)


def lines(levels: str = PLAIN) -> list[str]:
    """Return the lines, with one space between words."""
    return [" ".join(line.split()) for line in text(DAY, "http://mx", levels).splitlines()]


def test_the_numbers_are_those_of_the_page() -> None:
    """By time, method and reason."""
    for line in (
        "qmail-popup 1.2.3 · 2026-11-28 00:00 UTC · http://mx",
        "OK Nothing is wrong right now.",
        "accepted 1,200 1,240 1,840",
        "failed 30 37 37",
        "share that failed 2.4% 2.9% 2.0%",
        "Sessions open: 31 of 200",
        "Last event: 5 seconds ago",
        "POP3 USER 1,800 30 1.6%",
        "POP3S USER 40 7 14.9%",
        "wrong name or password 30 30 30",
        "checker: temporary failure 0 7 7",
        "Store accepts commits · 0 commits failed",
    ):
        assert line in lines()


def test_a_line_of_bars_is_its_numbers() -> None:
    """A bar for each half-hour, as high as its part of the highest, which stands behind it."""
    (accepted_line,) = (
        line for line in text(DAY, "", PLAIN).splitlines() if line.startswith("  accepted  |")
    )
    _, bars, highest = accepted_line.split("|")
    assert 48 == len(bars)
    assert "1,200" == highest.strip()
    assert " " * 44 + "=" + ".@ " == bars.replace("?", " ")


def test_no_line_is_longer_than_a_terminal() -> None:
    """Of 80 columns, whichever characters it has."""
    assert 80 >= max(len(line) for line in text(DAY, "http://127.0.0.1:9110", BLOCKS).splitlines())


def test_where_no_sidecar_ran_there_is_no_bar() -> None:
    """And no 0 either."""
    bare = snapshot({}, minutes=[], is_live=False)
    assert "|" + "?" * 48 + "| 0" in text(bare, "", PLAIN)
    assert "CRITICAL  No sidecar answers." in text(bare, "", PLAIN)
