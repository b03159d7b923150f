"""The charts: drawn from known minutes, and read back out of the SVG."""

from xml.etree import ElementTree as ET

import pytest

from observability.status.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Bar,
    Part,
    bars,
    chart,
    spark,
    top,
)
from observability.status.markup import Markup
from observability.store.history import Minute
from tests.support.snapshots import LAST, NOW, accepted, refused

GOOD = Part("accepted", "accepted", lambda minute: minute.sums.get(accepted(), 0))
BAD = Part("failed", "failed", lambda minute: minute.sums.get(next(iter(refused("credentials", 1))), 0))
PARTS = (GOOD, BAD)
QUARTERS = 96


def minutes() -> list[Minute]:
    """Return two days in which minute n of the day added n accepted and n // 100 failed logins."""
    days = range(LAST - 2880, LAST + 1)
    return [
        Minute(n, n % 50, {accepted(): n % 1440, **refused("credentials", n % 1440 // 100)}) for n in days
    ]


def expected(place: int) -> tuple[float, float]:
    """Return what bar `place` of a day holds; the last has one minute so far, which is 0."""
    ago = [LAST - 1425 + 15 * place + n for n in range(15)]
    told = [n % 1440 for n in ago if n <= LAST]
    return sum(told), sum(n // 100 for n in told)


def tree(markup: Markup) -> ET.Element:
    """Parse what was drawn."""
    return ET.fromstring(markup)  # noqa: S314  our own


def columns(drawn: ET.Element, highest: float) -> list[dict[str, float]]:
    """Return the bars of a chart with axes, by class of their parts, as their heights tell."""
    unit = (HEIGHT - TOP - BOTTOM) / highest
    return [
        {rect.attrib["class"]: float(rect.attrib["height"]) / unit for rect in group.iter("rect")}
        for group in drawn.iter("g")
    ]


def test_bars_hold_the_sums_of_their_minutes() -> None:
    """Of the last 24 hours, the older ones left out."""
    found = bars(minutes(), NOW, PARTS, 15)
    assert [expected(place) for place in range(QUARTERS)] == [bar.values for bar in found]
    assert [LAST - 1425 + 15 * place for place in range(QUARTERS)] == [bar.start for bar in found]


def test_the_heights_of_a_chart_are_its_numbers() -> None:
    """To a hundredth of a pixel, by the number that its axis ends with."""
    drawn = tree(chart("Logins", bars(minutes(), NOW, PARTS, 15), PARTS))
    labels = [text.text or "" for text in drawn.iter("text") if text.attrib["class"] == "y"]
    assert ["0", "15k", "30k"] == labels
    for place, column in enumerate(columns(drawn, 30_000)):
        assert expected(place) == pytest.approx((column.get("accepted", 0), column.get("failed", 0)), abs=3)


def test_the_parts_of_a_bar_stand_upon_each_other() -> None:
    """From the base line up, and inside the chart."""
    drawn = tree(chart("Logins", bars(minutes(), NOW, PARTS, 15), PARTS))
    for group in drawn.iter("g"):
        bottom = float(HEIGHT - BOTTOM)
        for rect in group.iter("rect"):
            if rect.attrib["class"] != "hit":
                bottom -= float(rect.attrib["height"])
                assert bottom == pytest.approx(float(rect.attrib["y"]), abs=0.02)
        assert bottom >= TOP


def test_each_bar_has_its_numbers_as_its_title() -> None:
    """With the time that they are of, as a pointer and a screen reader find them."""
    drawn = tree(chart("Logins", bars(minutes(), NOW, PARTS, 15), PARTS))
    titles = [title.text for title in drawn.iter("title")]
    assert QUARTERS == len(titles)
    assert "00:15 to 00:30 UTC: 330 accepted, 0 failed" == titles[0]
    assert "23:45 to 00:00 UTC: 21,480 accepted, 210 failed" == titles[-2]


def test_what_nobody_knows_is_shaded_and_is_not_0() -> None:
    """Where no minute was noted there is no bar; where nothing came there is one without height."""
    noted = [Minute(LAST - 20, 0, {}), *minutes()[-1:]]
    drawn = tree(chart("Logins", bars(noted, NOW, PARTS, 15), PARTS))
    kinds = [[rect.attrib["class"] for rect in group.iter("rect")] for group in drawn.iter("g")]
    assert [["gap"]] * 93 + [["hit"], ["gap"], ["hit"]] == kinds


def test_a_chart_of_nothing_is_a_chart() -> None:
    """With an axis that says so."""
    drawn = tree(chart("Logins", bars([], NOW, PARTS, 15), PARTS))
    assert ["0", "2", "4"] == [text.text for text in drawn.iter("text") if text.attrib["class"] == "y"]


def test_a_peak_is_the_most_of_a_bar() -> None:
    """Not the sum of its minutes."""
    part = (Part("open", "open", lambda minute: minute.peak),)
    noted = [Minute(LAST - 3, 7, {}), Minute(LAST - 2, 9, {}), Minute(LAST - 1, None, {})]
    assert Bar(LAST - 15, (9,)) == bars(noted, NOW, part, 15, max)[-2]


def test_times_are_below_the_chart() -> None:
    """Four a day, at their places."""
    drawn = tree(chart("Logins", bars(minutes(), NOW, PARTS, 15), PARTS))
    found = {text.text: float(text.attrib["x"]) for text in drawn.iter("text") if text.attrib["class"] == "x"}
    step = (WIDTH - LEFT - RIGHT) / QUARTERS
    places = {"06:00": 23, "12:00": 47, "18:00": 71, "00:00": 95}
    assert {time: round(LEFT + place * step, 2) for time, place in places.items()} == found


def test_a_spark_ends_at_its_highest_bar() -> None:
    """Its bars are as high as their numbers, compared to that."""
    noted = [Minute(LAST - 40, 0, {accepted(): 5}), Minute(LAST - 70, 0, {accepted(): 20})]
    drawn = tree(spark("POP3", bars(noted, NOW, PARTS, 30), PARTS))
    assert [20.0, 5.0] == [
        float(rect.attrib["height"]) for rect in drawn.iter("rect") if rect.attrib["class"] == "accepted"
    ]


@pytest.mark.parametrize(
    ("highest", "expected"),
    [(0, 4), (4, 4), (5, 6), (9, 10), (10, 10), (11, 20), (61, 80), (801, 1000), (1e9 + 1, 2e9)],
)
def test_an_axis_ends_with_a_number_that_halves_well(highest: float, expected: float) -> None:
    """And that is no lower than the highest bar."""
    assert expected == top(highest)
