"""Reads a log that other programs write, in pieces that are committed together with the position after them.

Owns the thread that reads one log, so that a hung file system delays nothing else, and the JSON form of a
position, which contains no user name or address. Each piece waits until the loop takes it, and the loop
commits the position with it; so after a kill exactly the uncommitted pieces are read again.
"""

import errno
import json
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from observability import event
from observability.arrivals.log_file import NO_TIME, Position
from observability.arrivals.log_files import Log, Place
from observability.arrivals.log_lines import Line, Record, read
from observability.arrivals.log_sessions import Login, Session, Sessions
from observability.arrivals.log_watch import Watch
from observability.arrivals.parsing import Event, parse
from observability.errors import describe
from qmail_popup import record

_MAX_WAITING = 32  # pieces, of 256 KiB each
_LAST_SECONDS = 1.0
_MAX_SECONDS = 1e10  # since 1970: as nanoseconds, nineteen digits
_VERDICTS = {"accepted": b"Accept", "rejected": b"Reject"}


class Reading(NamedTuple):
    """The contents of a piece of a log, to be committed in one transaction with the position after it."""

    place: str
    logins: Sequence[Login] = ()
    sessions: Sequence[Session] = ()  # ended ones
    overlong: int = 0
    gaps: Sequence[str] = ()  # why lines may have been missed, one for each place
    active: int | None = None  # open sessions, if the log shows them


class Reader:
    """Reads one log. Methods may raise OSError, and can then be called again."""

    def __init__(self, path: Path, place: str, *, from_start: bool) -> None:
        """Continue from a saved position; empty at the first start."""
        kept = json.loads(place) if place else None
        self._log = Log(path, _place(kept) if kept else None, from_start=from_start)
        self._sessions = Sessions(Session(*session) for session in kept["sessions"]) if kept else Sessions()
        self._is_first = True

    def readings(self) -> Iterator[Reading]:
        """Yield new contents; the first time and after a gap, at least one reading, even if empty."""
        for piece in self._log.pieces():
            lines = [line for line in map(read, piece.lines) if line and _counts(line, piece.after)]
            entries = [what for line in lines for what in self._take(line)]
            yield self._reading(entries, piece.overlong)
        if self._is_first or self._log.gaps:
            self._is_first = False  # not before: an error may have come first
            yield self._reading([], 0)

    @property
    def error(self) -> str:
        """Why the log could not be found at the last check, if so."""
        return os.strerror(errno.ENOENT) if self._log.is_missing else ""

    def close(self) -> None:
        """Close the files."""
        self._log.close()

    def _take(self, line: Line) -> Iterator[Login | Session]:
        if isinstance(line.says, Record):
            self._log.last = NO_TIME if line.time is None else line.time
        return self._sessions.take(line)

    def _reading(self, entries: Sequence[Login | Session], overlong: int) -> Reading:
        gaps, self._log.gaps = self._log.gaps, []
        place = {
            **self._log.place()._asdict(),
            "sessions": [session[:-1] for session in self._sessions.opened()],
        }
        return Reading(
            json.dumps(place),
            [what for what in entries if isinstance(what, Login)],
            [what for what in entries if isinstance(what, Session)],
            overlong,
            gaps,
            self._sessions.active,
        )


class LogThread:
    """A reader in its own thread, until closed. The loop calls its methods.

    wake: an eventfd(2), written to when a piece is available; need not be read
    error: why the log cannot be read now, if so
    """

    def __init__(self, path: Path, place: str, *, from_start: bool) -> None:
        """Start the thread; see Reader."""
        self.path, self.error = path, ""
        self._reader = Reader(path, place, from_start=from_start)
        self._waiting: queue.Queue[Reading] = queue.Queue(_MAX_WAITING)
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping, self._has_looked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"read {path}", daemon=True)
        self._thread.start()

    def wait(self, timeout: float) -> None:
        """Wait for a piece or an error, for at most `timeout` seconds."""
        self._has_looked.wait(timeout)

    def take(self) -> Reading | None:
        """Return the next piece, if available; commit it before taking another."""
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    @property
    def is_ready(self) -> bool:
        """Whether a piece is available."""
        return not self._waiting.empty()

    def close(self) -> None:
        """Stop the thread, without waiting for one that hangs: it holds nothing that is needed."""
        self._stopping.set()
        os.eventfd_write(self._stop, 1)
        self._thread.join(_LAST_SECONDS)

    def _run(self) -> None:
        watch = Watch(self.path, self._stop)
        while not self._stopping.is_set():
            try:
                for reading in self._reader.readings():
                    self.error = ""
                    self._hand_over(reading)
                self.error = self._reader.error
            except Exception as error:  # noqa: BLE001  the boundary: the next check may succeed
                self.error = describe(error)
            self._has_looked.set()
            watch.wait()
        watch.close()
        self._reader.close()

    def _hand_over(self, reading: Reading) -> None:
        while not self._stopping.is_set():
            try:
                self._waiting.put(reading, timeout=_LAST_SECONDS)
            except queue.Full:
                continue
            os.eventfd_write(self.wake, 1)
            self._has_looked.set()
            return


def logins(reading: Reading) -> list[Event]:
    """Return an event for each record."""
    return [_event(login.record, None, login.time) for login in reading.logins]


def sessions(reading: Reading) -> list[Event]:
    """Return an event for each session with known begin, end and record."""
    made = [
        _event(session.record, session.begun, session.ended) for session in reading.sessions if session.record
    ]
    return [what for what in made if what.duration is not None]


def _event(found: Record, begun: float | None, ended: float | None) -> Event:
    """Build the event that our popup would have sent, as far as the log shows it."""
    kind = b"STLS" if found.method == "Any" else b"AUTH"
    line = record.compose(
        pid=found.pid,
        verdict=b"%s::%s::%s" % (_VERDICTS[found.result], kind, found.method.encode()),
        protocol=found.protocol.encode(),
        ip=found.ip,
        host=found.host,
        name=found.name,
    )
    facts: dict[bytes, bytes | int | None] = {
        event.TRACE: os.urandom(16).hex().encode(),
        event.PROTOCOL: found.protocol.encode(),
        event.PID: found.pid,
        event.CLIENT_IP: found.ip,
        event.CLIENT_HOST: found.host,
        event.T_START: _nanoseconds(begun),
        event.T_ENDED: _nanoseconds(ended if ended is None or begun is None else max(begun, ended)),
        event.RECORD: line.removesuffix(b"\n"),
        event.ENDED: b"tls_required" if found.method == "Any" else found.result.encode(),
    }
    made = parse(event.build(facts).rstrip(b"\0"))
    assert isinstance(made, Event)  # noqa: S101  built by ourselves
    return made


def _nanoseconds(seconds: float | None) -> int | None:
    """Convert a time to the event's unit; None if out of range, because a log may contain any stamp."""
    return None if seconds is None or not 0 <= seconds < _MAX_SECONDS else int(seconds * 1e9)


def _counts(line: Line, after: float | None) -> bool:
    return after is None or (line.time is not None and line.time > after)


def _place(kept: dict[str, Any]) -> Place:
    positions = [
        Position(inode, offset, tuple(head), tuple(tail), is_skipping, after)
        for inode, offset, head, tail, is_skipping, after in kept["positions"]
    ]
    return Place(positions, kept["newest"], kept["last"])
