"""A log as events, and the thread that reads it: what no event can hold is left out of it."""

from contextlib import closing
from pathlib import Path

import pytest

from observability.arrivals.log import LogThread, Reader, Reading, logins, sessions
from observability.arrivals.log_lines import Record, read
from observability.arrivals.log_sessions import Login, Session
from tests.support.waiting import TIMEOUT

LINE = b"qmail-popup: pid 7 Reject::AUTH::User P:POP3 S:192.0.2.1:unknown ?~ 'bob'"
STAMPS = {
    "of the far future": b"@ffffffffffffffffffffffff ",
    "before 1970": b"@000000000000000000000000 ",
    "of year 1": b"0001-01-01_00:00:00 ",
    "of year 9999": b"9999-12-31_23:59:59 ",
}


@pytest.mark.parametrize("name", STAMPS)
def test_a_time_that_no_event_can_hold(name: str) -> None:
    """The record is shown without its time, and its session, whose length nobody knows, not at all."""
    line = read(STAMPS[name] + LINE)
    assert line
    assert isinstance(line.says, Record)
    session = Session("", 7, line.time, line.time, record=line.says)
    reading = Reading("", [Login(line.time, line.says, None)], [session])
    (event,) = logins(reading)
    assert (None, "rejected") == (event.ended_at, event.ended)
    assert [] == sessions(reading)


def test_a_log_that_cannot_be_read_is_known_at_once(tmp_path: Path) -> None:
    """Whoever waits for the place to begin at is not kept waiting for one that does not come."""
    (tmp_path / "log").symlink_to("log")
    with closing(LogThread(tmp_path / "log", "", from_start=False)) as thread:
        thread.wait(TIMEOUT)
        assert ("neither a directory nor a file", None) == (thread.error.rpartition(": ")[2], thread.take())


def test_nothing_where_a_log_should_be(tmp_path: Path) -> None:
    """It is an error, for the name may be a mistake, and a place to begin at: what comes later is new."""
    with closing(LogThread(tmp_path / "log", "", from_start=False)) as thread:
        thread.wait(TIMEOUT)
        assert thread.take() is not None


def test_an_error_before_the_first_check(tmp_path: Path) -> None:
    """The place to begin at is known once the log can be read: from there on nothing is missed."""
    log = tmp_path / "log"
    log.symlink_to("log")
    with closing(Reader(log, "", from_start=False)) as reader:
        for _ in range(2):
            with pytest.raises(OSError, match="neither a directory nor a file"):
                next(reader.readings())
        log.unlink()
        log.write_bytes(LINE + b"\n")
        (first,) = reader.readings()
        assert ([], True) == (first.logins, bool(first.place))
        assert [] == list(reader.readings())
