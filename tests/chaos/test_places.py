"""Unusable or changed resources: the store, the spool, the clock."""

import resource
import sqlite3
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from observability.arrivals.parsing import SOCKET, Arrival, parse
from observability.event import build
from observability.store import schema
from observability.store.clocks import Clocks
from observability.store.database import Store
from tests.chaos.stand import Stand
from tests.support.keeper import COMMAND, Keeper
from tests.support.popup import LOGIN
from tests.support.programs import need, need_root
from tests.support.scraper import counts
from tests.support.sidecar import fields

_DAYS = 2 * 86400


def _corrupt(state: Path) -> None:
    """Overwrite the middle, leaving the header valid."""
    with state.open("r+b") as file:
        file.seek(1024)
        file.write(b"\xa5" * (state.stat().st_size - 1024))


def _make_newer(state: Path) -> None:
    with sqlite3.connect(state) as database:
        database.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    database.close()


@pytest.mark.parametrize("spoil", [_corrupt, _make_newer])
def test_a_store_that_cannot_be_used_is_left_alone(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """One line and status 1; popups use the spool, and everything counts once the store is moved aside."""
    with Stand(tmp_path) as stand:
        keeper = stand.keeper.start()
        with stand.session() as popup:
            popup.talk(LOGIN)
        assert 0 == keeper.stop()
        spoil(keeper.state)
        before = keeper.state.read_bytes()
        status, said = keeper.refused()
        assert (1, 1, before) == (status, said.count("\n"), keeper.state.read_bytes())
        stand.whole_session()
        moved = keeper.reset()
        keeper.start()
        assert (1, 1) == stand.counted()
        (aside,) = (path for path in tmp_path.glob("state.sqlite.*") if path.read_bytes() == before)
        assert str(aside) in moved


def test_a_disk_that_is_full_for_the_store_loses_nothing(tmp_path: Path) -> None:
    """Nothing is acknowledged, so popups use the spool; /metrics is served; later everything counts once."""
    with Stand(tmp_path) as stand:
        stand.keeper.start()
        stand.whole_session()
        resource.prlimit(stand.keeper.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        stand.whole_session()
        stand.whole_session(spool_only=True)
        assert 1 == counts(stand.keeper.numbers(), "auth_attempts_total").total()
        resource.prlimit(stand.keeper.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert stand.happened == stand.counted()


def test_a_second_sidecar_on_one_state_refuses(tmp_path: Path) -> None:
    """It also refuses while the first is suspended, which holds the store and later continues counting."""
    with Stand(tmp_path) as stand:
        stand.keeper.start()
        with stand.session() as popup:
            stand.keeper.hold()
            popup.talk(LOGIN)
        (tmp_path / "second").mkdir()
        second = Keeper(tmp_path / "second")
        status, said = second.refused(f"--state={stand.keeper.state}")
        assert (1, 1) == (status, said.count("\n"))
        assert str(stand.keeper.process.pid) in said
        stand.keeper.go_on()
        assert stand.happened == stand.counted()


def test_a_clock_that_is_set_back_changes_no_count(tmp_path: Path) -> None:
    """The time of day is only displayed: earlier events count once, and new ones count."""
    days = count(100, -1)
    clocks = Clocks(lambda: next(days) * 86400.0, lambda: 1000.0, "boot")
    old, new = (Arrival(SOCKET, parse(build(fields()).removesuffix(b"\0\0"))) for _ in range(2))
    for arrivals, wanted in (([old], 1), ([old], 0), ([old, new], 1)):
        database = schema.open_file(tmp_path / "state.sqlite", 1)
        assert wanted == len(Store(database, clocks).commit(arrivals))
        database.close()


@pytest.mark.parametrize(("first", "then"), [(_DAYS, 0), (0, _DAYS)], ids=["back", "ahead"])
def test_a_monotonic_clock_that_jumps_over_a_restart_changes_no_count(
    tmp_path: Path, first: int, then: int
) -> None:
    """As between two containers on one machine: an event counted before the jump is a duplicate after it."""
    need_root()
    (unshare,) = need("unshare")
    with Stand(tmp_path) as stand:
        stand.keeper.make_spool()
        stand.whole_session()
        left = (stand.keeper.spool / "spool").read_bytes()
        stand.keeper.command = (unshare, "-T", f"--monotonic={first}", *COMMAND)
        stand.keeper.start()
        assert stand.happened == stand.counted()
        stand.keeper.kill()
        stand.keeper.command = (unshare, "-T", f"--monotonic={then}", *COMMAND)
        stand.keeper.start()
        (stand.keeper.spool / "taken.again").write_bytes(left)
        stand.whole_session()
        assert stand.happened == stand.counted()
