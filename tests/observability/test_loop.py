"""The loop in this process: a sink or a task that fails fails alone, and is counted and told once."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from observability.arrivals.parsing import SOCKET, Arrival, Event
from observability.arrivals.spool import Spool
from observability.errors import UnusableError
from observability.sidecar import Loop, Parts, Sink
from observability.store.database import Store
from observability.store.presence import Presence
from observability.store.reading import read
from tests.support.arrivals import Clock
from tests.support.stores import SESSION, Time, event, opened

_MISSED = ("telemetry_log_lines_lost",)


class _Running(Clock):
    """A clock that goes on by itself, each time it is looked at."""

    pace = 0.0

    def __call__(self) -> float:
        """Return what it shows."""
        self.now += self.pace
        return self.now


class _Given:
    """A receiver that brings what it is given, and notes what was acknowledged."""

    is_idle = True

    def __init__(self) -> None:
        self.waiting: list[Event] = []
        self.acknowledged = 0
        # When a piece is to be brought, and when it is acknowledged.
        self.before: Callable[[], object] = lambda: None
        self.after = self.before

    def arrivals(self, _timeout: float) -> list[Arrival]:
        """Return what it was given."""
        self.before()
        brought, self.waiting = self.waiting, []
        return [Arrival(SOCKET, what) for what in brought]

    def acknowledge(self) -> None:
        """Note it."""
        self.after()
        self.acknowledged += 1


class _Host:
    """A loop, its parts and its log."""

    def __init__(self, store: Store, spool: Spool) -> None:
        self.store, self._spool = store, spool
        self.receiver, self.clock = _Given(), _Running()
        self.logged: list[str] = []
        self.sinks: list[Sink] = []
        self.tasks: dict[str, Callable[[], object]] = {}
        self.keep: Callable[[], object] = lambda: None
        self.is_over = False
        self._loop: Loop | None = None

    def step(self, *events: Event) -> None:
        """Have events come in, a tick later."""
        if not self._loop:
            parts = Parts(self.receiver, self._spool, self.store, self._log, self.sinks, self.tasks)
            self._loop = Loop(parts._replace(keep=self.keep), lambda _timeout: self.is_over, self.clock)
        self.receiver.waiting += events
        self.clock.now += 1
        self._loop.step()

    @property
    def errors(self) -> frozenset[str]:
        """The names of the loop's current errors."""
        return self._loop.errors.names if self._loop else frozenset()

    def _log(self, _level: str, message: str) -> None:
        self.logged.append(message)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[_Host]:
    """Give a loop over a new store."""
    with (
        opened(tmp_path / "state.sqlite", Time().clocks()) as store,
        closing(Spool(tmp_path / "spool", Clock())) as spool,
    ):
        yield _Host(store, spool)


def test_a_sink_that_fails_fails_alone(host: _Host) -> None:
    """What is counted and acknowledged does not depend on it, nor do others; what it missed is counted."""
    seen: list[Event] = []
    broken = [True]

    def take(_counted: Sequence[Event]) -> None:
        if broken:
            raise ValueError("nobody thought of that")

    host.sinks += [Sink("the log", take, _MISSED), Sink("another", seen.extend, ("unused",))]
    told = [event() for _ in range(3)]
    host.step(*told[:2])
    host.step(told[2])
    broken.clear()
    host.step(event())
    assert told == seen[:3]
    assert (4, 3) == (host.store.committed.values[SESSION], host.receiver.acknowledged)
    assert ["the log: nobody thought of that"] == host.logged
    host.step()
    assert 3 == host.store.committed.values[_MISSED]


def test_a_task_that_fails_fails_alone(host: _Host) -> None:
    """It is tried again at every tick, and told once."""
    tried: list[str] = []

    def fail() -> None:
        tried.append("first")
        raise OSError(28, "No space left on device", "/some/file")

    host.tasks.update(first=fail, second=lambda: tried.append("second"))
    host.step(event())
    host.step(event())
    assert ["first", "second"] * 2 == tried
    assert ["first: /some/file: No space left on device"] == host.logged
    assert 2 == host.store.committed.values[SESSION]


def test_what_makes_no_sense_to_go_on_with_ends_it(host: _Host) -> None:
    """The one error that a task may end the loop with."""

    def end() -> None:
        raise UnusableError("the store is somebody else's")

    host.tasks["paths"] = end
    with pytest.raises(UnusableError):
        host.step()


def test_while_the_store_takes_nothing_tasks_go_on(host: _Host, tmp_path: Path) -> None:
    """Nothing is acknowledged, nothing more is read, and what is periodic stays so."""
    ticks: list[None] = []

    def tick() -> None:
        ticks.append(None)
        host.is_over = len(ticks) == 3

    host.tasks["tick"] = tick
    with closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        host.clock.pace = 0.4
        host.step(event())
    assert (3, 0) == (len(ticks), host.receiver.acknowledged)
    assert ["cannot commit: database is locked"] == host.logged


def test_what_is_acknowledged_is_at_its_path(host: _Host, tmp_path: Path) -> None:
    """A log of the store that is removed between two ticks costs nothing that is acknowledged after that."""
    state = tmp_path / "state.sqlite"
    stands: list[float] = []
    host.keep = Presence(state, host.store).keep
    host.step(event())
    host.receiver.before = (tmp_path / "state.sqlite-wal").unlink
    host.receiver.after = lambda: stands.append(read(state).values[SESSION])
    host.step(event())
    assert [2] == stands


def test_an_error_of_the_store_that_comes_again_is_logged_again(host: _Host, tmp_path: Path) -> None:
    """It is over when all that a tick does has worked, even if no event arrives in between."""
    host.tasks["count"] = lambda: host.store.count({_MISSED: 1})
    for _ in range(2):
        with closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            host.step()
            host.step()
        host.step()
        host.step()
    assert ["cannot commit: database is locked"] * 2 == host.logged
    assert 4 == host.store.committed.values[_MISSED]


def test_a_store_that_cannot_be_synced_still_takes_commits(
    host: _Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is an error of its own, which pages name; it does not hide one of the commits."""
    monkeypatch.setattr(host.store, "sync", _fail)  # the moment is the disk's: nothing else can hit it
    host.step(event())
    host.step(event())
    assert (["sync: disk I/O error"], frozenset({"sync"})) == (host.logged, host.errors)


def _fail() -> None:
    raise sqlite3.OperationalError("disk I/O error")
