"""A store in this process: settable clocks, parsed events, and the counted values."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from observability.arrivals.parsing import Event, parse
from observability.event import PROTOCOL, T_START, TRACE, build
from observability.store import schema
from observability.store.clocks import Clocks
from observability.store.database import Store
from observability.store.families import Series
from tests.support.sidecar import fields

ACCEPTED = ("auth_attempts", "accepted", "User", "POP3")
SESSION = ("sessions", "accepted", "POP3")
SESSION_KILLED = ("sessions", "killed", "POP3")
DUPLICATE = ("telemetry_events_dropped", "duplicate")


class Time:
    """Clocks that advance only when set."""

    def __init__(self) -> None:
        self.now, self.monotonic = 1_700_000_000.0, 1000.0

    def clocks(self, boot: str = "one boot") -> Clocks:
        """Return the clocks of a store, within one boot."""
        return Clocks(lambda: self.now, lambda: self.monotonic, boot)


@contextmanager
def opened(path: Path, clocks: Clocks) -> Iterator[Store]:
    """Yield the store at `path`, and close it afterwards."""
    with closing(Store(schema.open_file(path, 0), clocks)) as store:
        yield store


def event(changes: Mapping[str, bytes | None] | None = None) -> Event:
    """Return a parsed event."""
    what = parse(build(fields(changes or {}))[:-2])
    assert isinstance(what, Event)
    return what


def hello_of(told: Event) -> Event:
    """Return the hello of an event's session."""
    facts = {TRACE: told.trace.encode(), PROTOCOL: told.protocol.encode(), T_START: told.start}
    what = parse(build(facts)[:-2])
    assert isinstance(what, Event)
    return what


def values(store: Store) -> dict[Series, float]:
    """Return the non-zero series."""
    return {key: value for key, value in store.committed.values.items() if value}
