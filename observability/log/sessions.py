"""The JSON log: one line a session on stdout, and the sidecar's own messages on stderr.

Owns the words of both, and how they get out: each descriptor has a thread that does nothing but write to
it, so that a reader who stalls holds no session up. What it leaves no room for is left out, and counted.
"""

import contextlib
import logging
import os
import queue
import select
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from pythonjsonlogger.json import JsonFormatter

from observability.arrivals.parsing import KILLED, Event
from observability.privacy import Privacy

WAITING_BYTES_MOST = 16 * 1024 * 1024

Fields = Mapping[str, object]
Say = Callable[[str, str], None]

_MESSAGE_NAMES = ("timestamp", "level", "message")


class Stream:
    """A descriptor that others may be slow to read from."""

    def __init__(self, fd: int, patience: float, most: int = WAITING_BYTES_MOST) -> None:
        """Write to fd, with `most` bytes waiting at the most, and seconds of patience when it is closed."""
        self._fd, self._patience, self._most = fd, patience, most
        self._waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._put = self._written = 0  # bytes; each is changed by one thread only
        self._thread = threading.Thread(target=self._run, name=f"write {fd}", daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> bool:
        """Have data written; False where there is no room for it."""
        if self._put - self._written + len(data) > self._most:
            return False
        self._put += len(data)
        self._waiting.put(data)
        return True

    def close(self) -> None:
        """Write what waits, as long as there is patience."""
        self._waiting.put(b"")
        self._thread.join(self._patience)

    def _run(self) -> None:
        while data := self._waiting.get():
            # A reader who is gone is no reason to stop, and gets nothing.
            with contextlib.suppress(OSError):
                _write(self._fd, data)
            self._written += len(data)


class Messages:
    """What the sidecar has to say of itself: a line on stderr each, in JSON or for a person."""

    def __init__(self, stream: Stream, clock: Callable[[], float], *, as_json: bool) -> None:
        """Write to stream. clock: seconds since 1970."""
        self._stream, self._clock = stream, clock
        self._render = _json(_MESSAGE_NAMES) if as_json else _plain

    def __call__(self, level: str, message: str) -> None:
        """Say it; level: info, warning or error."""
        fields = {"timestamp": _timestamp(self._clock()), "level": level, "message": message}
        self._stream.put(f"{self._render(fields)}\n".encode())


class SessionLog:
    """One line for each session, and for the record of one that had been taken for killed."""

    def __init__(self, stream: Stream, privacy: Privacy, clock: Callable[[], float], say: Say) -> None:
        """Write to stream what privacy allows. clock: seconds since 1970."""
        self._stream, self._privacy, self._clock, self._say = stream, privacy, clock, say
        self._render = _json(("timestamp", *_FIELDS, "client.address", "trace_id", "span_id"))
        self._left_out = 0

    def __call__(self, counted: Sequence[Event]) -> None:
        """Log what was counted just now."""
        lines = [f"{self._render(self._told(event))}\n" for event in counted]
        if not self._stream.put("".join(lines).encode()):
            self._left_out += len(lines)
        elif self._left_out:
            self._say("warning", f"{self._left_out} lines left out of the session log: nobody read it")
            self._left_out = 0

    def _told(self, event: Event) -> Fields:
        return {
            "timestamp": _timestamp(self._clock() if event.ended_at is None else event.ended_at / 1e9),
            **{name: field(event) for name, field in _FIELDS.items()},
            "client.address": self._privacy.address(event),
            "trace_id": event.trace,
            "span_id": event.session_span,
            **self._privacy.user(event),
        }


def _json(names: Sequence[str]) -> Callable[[Fields], str]:
    """Make what renders fields as one line of JSON, names first and in this order."""
    formatter = JsonFormatter(" ".join(f"%({name})s" for name in names))
    return lambda fields: formatter.format(logging.makeLogRecord({"msg": fields}))


def _plain(fields: Fields) -> str:
    """Render it for a person; it may quote a file's name, which others chose, and stays one line of text."""
    shown = (c if c.isprintable() else ascii(c)[1:-1] for c in str(fields["message"]))
    return f"qmail-popup-sidecar: {''.join(shown)}"


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _write(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # others, who share the descriptor, have set it so
            room = select.poll()
            room.register(fd, select.POLLOUT)
            room.poll()


def _auth_duration(event: Event) -> float | None:
    if not event.record or event.record.result != "rejected":
        return None  # an accepted login is known only when its session ends
    return event.auth_duration


_FIELDS: dict[str, Callable[[Event], object]] = {
    "result": lambda event: event.record.result if event.record else None,
    "method": lambda event: event.record.method if event.record else None,
    "protocol": lambda event: event.protocol,
    "ended": lambda event: event.ended or KILLED,
    "status": lambda event: event.status,
    "duration": lambda event: event.duration,
    "auth_duration": _auth_duration,
}
