"""A log that others write, as what it tells: pieces that are committed whole, with the place behind each.

Owns the thread that reads one log, so that a file system that hangs holds up nobody else, and the text in
which a place is kept: it holds no user name and no address. Each piece waits until the loop takes it, and
the loop commits the place with it; so a kill at any moment reads again what was not committed, and nothing
else.
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
_MAX_SECONDS = 1e10  # since 1970: what nineteen digits of nanoseconds reach
_VERDICTS = {"accepted": b"Accept", "rejected": b"Reject"}


class Reading(NamedTuple):
    """What a piece of a log tells, to be committed in one transaction with the place behind it."""

    place: str
    logins: Sequence[Login] = ()
    sessions: Sequence[Session] = ()  # that have ended
    overlong: int = 0
    gaps: Sequence[str] = ()  # where lines may have been missed, and why
    active: int | None = None  # sessions that are open, where the log tells


class Reader:
    """Reads one log, from a place on. May raise OSError, and can then be called again."""

    def __init__(self, path: Path, place: str, *, from_start: bool) -> None:
        """Go on from a place that was kept; an empty one is the first start."""
        kept = json.loads(place) if place else None
        self._log = Log(path, _place(kept) if kept else None, from_start=from_start)
        self._sessions = Sessions(Session(*session) for session in kept["sessions"]) if kept else Sessions()
        self._is_first = True

    def readings(self) -> Iterator[Reading]:
        """Yield what is new; the first time, and behind a gap, also where that is nothing."""
        is_first, self._is_first = self._is_first, False
        for piece in self._log.pieces():
            lines = [line for line in map(read, piece.lines) if line and _counts(line, piece.after)]
            entries = [what for line in lines for what in self._take(line)]
            yield self._reading(entries, piece.overlong)
        if is_first or self._log.gaps:
            yield self._reading([], 0)

    @property
    def error(self) -> str:
        """Why there was nothing to read at the last look, if there was nothing."""
        return os.strerror(errno.ENOENT) if self._log.is_missing else ""

    def close(self) -> None:
        """Let go of its files."""
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
    """A reader in a thread of its own, until it is closed. Its methods are the loop's.

    wake: a descriptor on which there is news once a piece is there (an eventfd(2), which nobody has to read)
    error: why the log cannot be read now, if it cannot
    """

    def __init__(self, path: Path, place: str, *, from_start: bool) -> None:
        """Begin; see Reader."""
        self.path, self.error = path, ""
        self._reader = Reader(path, place, from_start=from_start)
        self._waiting: queue.Queue[Reading] = queue.Queue(_MAX_WAITING)
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping, self._has_looked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"read {path}", daemon=True)
        self._thread.start()

    def wait(self, timeout: float) -> None:
        """Return once there is a piece, or an error, or `timeout` seconds have passed."""
        self._has_looked.wait(timeout)

    def take(self) -> Reading | None:
        """Return the next piece; it is to be committed before the next one."""
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    @property
    def is_ready(self) -> bool:
        """Whether a piece is there."""
        return not self._waiting.empty()

    def close(self) -> None:
        """End the thread, unless it hangs: then it holds nothing that anybody waits for."""
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
            except OSError as error:
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
    """Return an event for each session of which begin, end and record are known."""
    made = [
        _event(session.record, session.begun, session.ended) for session in reading.sessions if session.record
    ]
    return [what for what in made if what.duration is not None]


def _event(found: Record, begun: float | None, ended: float | None) -> Event:
    """Make the event that a popup of ours would have sent, as far as the log has told of it."""
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
    assert isinstance(made, Event)  # noqa: S101  all of it is ours
    return made


def _nanoseconds(seconds: float | None) -> int | None:
    """Return a time as an event has it; None for one that an event cannot have: stamps may hold anything."""
    return None if seconds is None or not 0 <= seconds < _MAX_SECONDS else int(seconds * 1e9)


def _counts(line: Line, after: float | None) -> bool:
    return after is None or (line.time is not None and line.time > after)


def _place(kept: dict[str, Any]) -> Place:
    positions = [
        Position(inode, offset, tuple(head), tuple(tail), is_skipping, after)
        for inode, offset, head, tail, is_skipping, after in kept["positions"]
    ]
    return Place(positions, kept["newest"], kept["last"])
