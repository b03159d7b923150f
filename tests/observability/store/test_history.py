"""The last 48 hours: what each minute added, whatever happens to the sidecar and to the clock."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from observability.arrivals.parsing import SOCKET, Arrival
from observability.store import families, history, schema
from observability.store.database import Store
from observability.store.families import Series
from observability.store.history import MINUTES, History
from tests.support.stores import ACCEPTED, SESSION, Time, event, opened


@pytest.fixture
def time() -> Time:
    """Return clocks to set, at the start of a minute."""
    time = Time()
    time.now = 28_333_333 * 60.0
    return time


def count(store: Store, sessions: int) -> None:
    """Commit so many accepted sessions."""
    store.commit([Arrival(SOCKET, event()) for _ in range(sessions)])


def of(store: Store, time: Time, active: int | None = None) -> History:
    """Return the history of a store, as of now."""
    made = History(store, lambda: time.now, lambda: active)
    made.tick()
    return made


def attempts(kept: History, time: Time) -> dict[int, float]:
    """Return the attempts of the minutes that had some, by how many minutes ago they were."""
    now = int(time.now // 60)
    return {
        now - minute.minute: minute.sums[ACCEPTED] for minute in kept.minutes() if minute.sums.get(ACCEPTED)
    }


def test_a_minute_has_what_was_committed_in_it(tmp_path: Path, time: Time) -> None:
    """The one under way too, and one in which nothing came is there without sums."""
    with opened(tmp_path / "state.sqlite", time.clocks()) as store:
        kept = of(store, time)
        for sessions in (3, 0, 5):
            if sessions:
                count(store, sessions)
            time.now += 60
            kept.tick()
        count(store, 2)
        assert {0: 2, 1: 5, 3: 3} == attempts(kept, time)
        assert {} == kept.minutes()[1].sums
        assert 3 == kept.minutes()[0].sums[SESSION]


def test_a_kill_loses_no_sum(tmp_path: Path, time: Time) -> None:
    """What was committed since the last row stands in the next one, whoever writes it."""
    path, copy = tmp_path / "state.sqlite", tmp_path / "copy.sqlite"
    with opened(path, time.clocks()) as store:
        kept = of(store, time)
        count(store, 3)
        time.now += 60
        kept.tick()
        count(store, 4)
        with closing(sqlite3.connect(path)) as reader:  # what a kill now would leave behind
            reader.execute("VACUUM INTO ?", (str(copy),))
    time.now += 600
    with opened(copy, time.clocks()) as store:
        kept = of(store, time)
        count(store, 5)
        assert {0: 5, 1: 4, 11: 3} == attempts(kept, time)


def test_a_clock_that_is_set_back_loses_no_sum(tmp_path: Path, time: Time) -> None:
    """The minutes of the future are gone; what they had counted is in the one that is noted then."""
    with opened(tmp_path / "state.sqlite", time.clocks()) as store:
        kept = of(store, time)
        for _ in range(5):
            count(store, 1)
            time.now += 60
            kept.tick()
        time.now -= 180
        kept.tick()
        assert {1: 4, 2: 1} == attempts(kept, time)
        assert kept.minutes() == History(store, lambda: time.now, lambda: None).minutes()


def test_48_hours_are_kept(tmp_path: Path, time: Time) -> None:
    """In the file one row more, to which the oldest is a difference; their sum is the total's growth."""
    path = tmp_path / "state.sqlite"
    with opened(path, time.clocks()) as store:
        kept = of(store, time)
        for _ in range(3):
            count(store, 1)
            time.now += MINUTES * 20  # a third of 48 hours
            kept.tick()
        assert {1: 1, 961: 1, 1921: 1} == attempts(kept, time)
        time.now += MINUTES * 60
        kept.tick()
        assert {} == attempts(kept, time)
    with closing(sqlite3.connect(path)) as file:
        assert (2,) == file.execute("SELECT count(*) FROM history").fetchone()


def test_the_file_is_read_as_it_was_written(tmp_path: Path, time: Time) -> None:
    """Every series of the families that are kept comes back as it was, and no other; so does the peak."""
    path = tmp_path / "state.sqlite"
    every: Counter[Series] = Counter()
    with opened(path, time.clocks()) as store:
        kept = of(store, time, active=7)
        every.update({series: n for n, series in enumerate(families.at_start(), 1)})
        store.count(every)
        time.now += 60
        kept.tick()
        (noted, _) = kept.minutes()
    with closing(schema.open_file(path, 0)) as database:
        assert (noted,) == history.read(database)
    names = {family.name for family in history.KEPT}
    assert {series: n for series, n in every.items() if series[0] in names} == noted.sums
    assert 7 == noted.peak


def test_the_peak_is_the_most_of_all_looks(tmp_path: Path, time: Time) -> None:
    """Not what is open when the minute ends."""
    active = 2
    with opened(tmp_path / "state.sqlite", time.clocks()) as store:
        kept = History(store, lambda: time.now, lambda: active)
        kept.tick()
        for active in (9, 4):  # noqa: B007  the history asks for it
            time.now += 20
            kept.tick()
        time.now += 20
        active = 1
        kept.tick()
        assert [9, 1] == [minute.peak for minute in kept.minutes()]
