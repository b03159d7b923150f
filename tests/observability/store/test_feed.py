"""What a log adds to the store, with its place, and what is shown of it: each piece once."""

import os
import select
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from observability.arrivals import log as logs
from observability.arrivals.log import LogThread
from observability.arrivals.parsing import Event
from observability.store.database import Store
from observability.store.feed import Feed, mark
from tests.support.stores import values
from tests.support.waiting import TIMEOUT, until

_REFUSED = ("auth_attempts", "rejected", "User", "POP3")
_MALFORMED = ("telemetry_events_dropped", "malformed")
_GAPS = ("telemetry_log_gaps",)
_STAMP = "2026-01-02_03:04:05.6"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log without lines."""
    path = tmp_path / "log"
    path.touch()
    return path


def write(log: Path, *names: str) -> None:
    """Have refusals logged."""
    with log.open("a") as file:
        file.writelines(f"{_STAMP} {_line(name)}" for name in names)


def _line(name: str) -> str:
    return f"qmail-popup: pid 7 Reject::AUTH::User P:POP3 S:192.0.2.1:unknown ?~ '{name}'\n"


@contextmanager
def feeding(store: Store, log: Path, *, from_start: bool = False) -> Iterator[tuple[Feed, list[str]]]:
    """Yield a feed, and what it logs."""
    said: list[str] = []
    thread = LogThread(log, store.mark(mark(log)), from_start=from_start)
    shows = {"lines": logs.logins, "spans": logs.sessions}
    with closing(Feed(thread, store, 3.0, shows, lambda level, text: said.append(f"{level} {text}"))) as feed:
        yield feed, said


def shown(feed: Feed, count: int) -> list[bytes]:
    """Return the names in the next events, when there are so many."""
    events: list[Event] = []

    def come() -> bool:
        if feed.is_ready:
            events.extend(feed.take().get("lines", ()))
        return len(events) >= count

    until(come)
    return [event.user for event in events if event.method]


def test_what_is_logged_counts_once(store: Store, log: Path) -> None:
    """With the place behind it: the next feed begins there, and shows what came meanwhile."""
    write(log, "before")
    with feeding(store, log) as (feed, said):
        assert ({}, 0) == (values(store), store.committed.last_event)
        write(log, "a", "b")
        assert [b"a", b"b"] == shown(feed, 2)
        assert {("telemetry_events", "log"): 2, _REFUSED: 2} == {
            series: value for series, value in values(store).items() if series[0] != "auth_failures"
        }
        assert store.committed.last_event > 0
    write(log, "c")
    with feeding(store, log) as (feed, said):
        assert [b"c"] == shown(feed, 1)
        assert (3, []) == (values(store)[_REFUSED], said)


def test_a_log_from_its_start(store: Store, log: Path) -> None:
    """What is there already counts before anything else, and is shown."""
    write(log, "before")
    with feeding(store, log, from_start=True) as (feed, _said):
        assert 1 == values(store)[_REFUSED]
        assert [b"before"] == shown(feed, 1)


def test_what_is_no_record(store: Store, log: Path) -> None:
    """A line that is too long counts as malformed, and does not look like an event."""
    with feeding(store, log) as (feed, _said):
        with log.open("ab") as file:
            file.write(b"x" * 200_000 + b"\n")
        until(lambda: feed.is_ready)
        feed.take()
        assert ({_MALFORMED: 1}, 0) == (values(store), store.committed.last_event)


def test_a_gap(store: Store, log: Path) -> None:
    """It is counted and told once; what follows it counts."""
    write(log, "a")
    with feeding(store, log):
        pass
    log.unlink()
    write(log, "b", "c")
    with feeding(store, log) as (feed, said):
        assert [b"b", b"c"] == shown(feed, 2)
        ((level, told),) = (line.split(" ", 1) for line in said)
        assert ("warning", True) == (level, told.startswith(f"lines of {log} may have been missed: "))
        assert (1, 2) == (values(store)[_GAPS], values(store)[_REFUSED])


def test_a_log_that_cannot_be_read(store: Store, log: Path) -> None:
    """A periodic task says why; once it can be read, it says nothing, and nothing is missed."""
    log.unlink()
    with feeding(store, log) as (feed, _said):
        until(lambda: bool(feed.error))
        with pytest.raises(RuntimeError, match="No such file or directory"):
            feed.look()
        write(log, "a")
        assert [b"a"] == shown(feed, 1)
        until(lambda: not feed.error)
        feed.look()


def test_a_log_that_is_none(store: Store, log: Path) -> None:
    """It has no place to begin at, and no sessions."""
    log.unlink()
    log.symlink_to(log)
    with feeding(store, log) as (feed, _said):
        assert ("", 0, False) == (store.mark(mark(log)), feed.active, feed.is_ready)
        with pytest.raises(RuntimeError, match="neither a directory nor a file"):
            feed.look()


def test_sessions_that_are_open(store: Store, log: Path) -> None:
    """Their number is that of the log's last piece; sslserver's log does not show it."""
    with feeding(store, log) as (feed, _said):
        for server, active in (("tcpserver", 1), ("sslserver", None)):
            with log.open("a") as file:
                file.write(f"2026-01-02_03:04:05.6 {server}: pid 8 from 192.0.2.1\n")
            until(lambda: feed.is_ready)
            feed.take()
            assert active == feed.active


def test_a_session_that_has_ended(store: Store, log: Path) -> None:
    """It counts with its length, and is a span."""
    with feeding(store, log) as (feed, _said):
        with log.open("a") as file:
            file.write("2026-01-02_03:04:03.6 tcpserver: pid 7 from 192.0.2.1\n")
            file.write(f"{_STAMP} {_line('a')}2026-01-02_03:04:07.6 tcpserver: end 7 status 256\n")
        until(lambda: feed.is_ready)
        (span,) = feed.take()["spans"]
        counted = values(store)
        labels = ("rejected", "POP3")
        assert (4, 1) == (span.duration, counted[("sessions", *labels)])
        assert 4 == counted[("session_duration_seconds", *labels, "sum")]


def test_a_store_that_fails(store: Store, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The piece is kept for the next step, but is not ready: or the loop would try it without a pause."""
    with feeding(store, log) as (feed, _said):
        os.eventfd_read(feed.wake)  # of the empty piece that it begins with
        write(log, "a")
        assert select.select([feed.wake], [], [], TIMEOUT)[0]
        with monkeypatch.context() as broken:
            broken.setattr(store, "count", _fail)
            with pytest.raises(sqlite3.OperationalError):
                feed.take()
        assert (False, {}) == (feed.is_ready, values(store))
        assert [b"a"] == [event.user for event in feed.take()["lines"]]
        write(log, "b")
        assert ([b"b"], False) == (shown(feed, 1), feed.is_ready)
        assert 2 == values(store)[_REFUSED]


def _fail(*_arguments: object, **_options: object) -> None:
    raise sqlite3.OperationalError("disk I/O error")
