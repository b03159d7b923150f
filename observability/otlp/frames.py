"""The frames on the socket between the sidecar and its exporter process.

Owns their format: a letter, a length and that many bytes. Events travel as the blocks they arrived in,
everything else as JSON. Pure; both ends are our own code.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from observability.arrivals.parsing import Event, parse
from observability.event import SEPARATOR
from observability.privacy import Privacy
from observability.store.families import Series

SETUP, EVENTS, VALUES = b"S", b"E", b"V"

_LENGTH_BYTES = 4

Values = Mapping[Series, float]


class Setup(NamedTuple):
    """What the exporter gets first; the rest comes from the environment, in OpenTelemetry's own variables."""

    endpoint: str | None  # a base like OTEL_EXPORTER_OTLP_ENDPOINT, which it overrides
    metrics: bool
    privacy: Privacy
    instance: str
    version: str
    born: int  # nanoseconds since 1970: when the store began to count
    json: bool  # how to log on stderr
    refusal_seconds: float  # as in parsing.py


def of_setup(setup: Setup) -> bytes:
    """Return the frame that holds setup."""
    user_names, addresses, key = setup.privacy
    fields = {**setup._asdict(), "privacy": [user_names, addresses, key.hex()]}
    return _frame(SETUP, json.dumps(fields).encode())


def of_events(events: Sequence[Event]) -> bytes:
    """Return the frame that holds events."""
    return _frame(EVENTS, SEPARATOR.join(event.block for event in events))


def of_values(values: Values) -> bytes:
    """Return the frame that holds the values of all series."""
    return _frame(VALUES, json.dumps([[*series, value] for series, value in values.items()]).encode())


def read(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of each frame until the stream ends, possibly in the middle of one."""
    while len(head := stream.read(1 + _LENGTH_BYTES)) == 1 + _LENGTH_BYTES:
        length = int.from_bytes(head[1:])
        if len(content := stream.read(length)) < length:
            return
        yield head[:1], content


def setup_in(content: bytes) -> Setup:
    """Parse the content of a SETUP frame."""
    fields = json.loads(content)
    user_names, addresses, key = fields.pop("privacy")
    return Setup(**fields, privacy=Privacy(user_names, addresses, bytes.fromhex(key)))


def events_in(content: bytes, refusal_seconds: float) -> list[Event]:
    """Parse the content of an EVENTS frame."""
    found = (parse(block, refusal_seconds) for block in content.split(SEPARATOR))
    return [what for what in found if isinstance(what, Event)]


def values_in(content: bytes) -> Values:
    """Parse the content of a VALUES frame."""
    return {tuple(series): value for *series, value in json.loads(content)}


def _frame(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(_LENGTH_BYTES) + content
