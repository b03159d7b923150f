"""What goes over the socket to the exporter's process."""

import io

import pytest

from observability.arrivals.parsing import Event, parse
from observability.event import build
from observability.otlp import frames
from observability.otlp.frames import Setup
from observability.privacy import Privacy
from tests.support.sidecar import REJECTED, fields

SETUP = Setup(
    endpoint="http://c",
    metrics=True,
    privacy=Privacy("hash", "prefix", bytes(range(32))),
    instance="mx",
    version="1.2.3",
    born=5,
    json=False,
    refusal_seconds=10.0,
)


def sessions() -> list[Event]:
    """Return two events."""
    found = [parse(build(fields(changes))[:-2]) for changes in ({}, REJECTED)]
    return [what for what in found if isinstance(what, Event)]


def test_what_is_written_is_read() -> None:
    """Setup, events and values, each as it was."""
    values = {("sessions", "quit", "POP3"): 3, ("sessions_active",): 0.5}
    stream = frames.of_setup(SETUP) + frames.of_events(sessions()) + frames.of_values(values)
    expected = [frames.SETUP, frames.EVENTS, frames.VALUES]
    kinds, contents = zip(*frames.read(io.BytesIO(stream)), strict=True)
    assert expected == list(kinds)
    assert SETUP == frames.setup_in(contents[0])
    assert values == frames.values_in(contents[2])


def test_events_travel_as_the_blocks_that_they_came_in() -> None:
    """Byte for byte, and are read as they were the first time."""
    told = sessions()
    ((_, content),) = frames.read(io.BytesIO(frames.of_events(told)))
    assert b"\0\0".join(event.block for event in told) == content
    assert told == frames.events_in(content, 10.0)


@pytest.mark.parametrize("cut", [1, 4, 5, 20])
def test_a_frame_that_is_cut_short_is_the_end(cut: int) -> None:
    """The sidecar was killed in the middle of it."""
    whole = frames.of_events(sessions())
    assert 1 == len(list(frames.read(io.BytesIO(whole + whole[:cut]))))
