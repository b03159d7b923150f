"""The sessions of a log: which record belongs to which connection, when it began, and how it ended.

Owns what is known of connections that have not ended, by origin and pid. Under tcpserver `pid`, the record
and `end` have the same pid. sslserver's `end` has another, so there a session ends with its record, and one
without a record is forgotten after a while. Pure: lines in, what is to be counted out. What is open can be
written down for the next sidecar.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from observability.arrivals.log_lines import Begun, Ended, LetIn, Line, Record, Running

MAX_OPEN = 20_000  # sessions; beyond that the oldest is forgotten, uncounted
SSLSERVER_SECONDS = 1200.0  # the popup's own idle timeout: no session before its login is older
_SSLSERVER = b"sslserver"
_POP3S_PORT = b"995"


class Session(NamedTuple):
    """A connection, as far as the log has told of it.

    begun, ended: seconds since 1970, where known; protocol: the record's word, or what the port says
    result, method: the record's, empty where there was none
    record: itself, where this process has read it; with a name and an address, so it is not written down
    """

    origin: str
    pid: int
    begun: float | None = None
    ended: float | None = None
    protocol: str = "POP3"
    result: str = ""
    method: str = ""
    by_sslserver: bool = False
    record: Record | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; None where its begin or its end is not known."""
        if self.begun is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.begun)


class Login(NamedTuple):
    """A record, and when its connection began, where a server told that."""

    time: float | None
    record: Record
    begun: float | None

    def reason(self, refusal_seconds: float) -> str:
        """Return why it was refused, as far as a log can tell."""
        if self.record.method == "Any":
            return "tls_required"
        if self.begun is None or self.time is None:
            return "credentials"
        return "session" if self.time - self.begun > refusal_seconds else "credentials"


class Sessions:
    """Those that are open."""

    def __init__(self, opened: Iterable[Session] = ()) -> None:
        """Go on with those that were open."""
        opened = [*opened]
        self._open = {(session.origin, session.pid): session for session in opened}
        self._ends_are_told = not any(session.by_sslserver for session in opened)

    @property
    def active(self) -> int | None:
        """How many there are now; None where sslserver's make that a guess."""
        return len(self._open) if self._ends_are_told else None

    def opened(self) -> list[Session]:
        """Return those that have not ended, to be written down."""
        return [session._replace(record=None) for session in self._open.values()]

    def take(self, line: Line) -> Iterator[Login | Session]:
        """Take a line in; yield the login that it tells of, and each session that it ends."""
        match line.says:
            case Record() as record:
                yield from self._login(line, record)
            case Begun(server, pid):
                yield from self._begin(line, pid, by_sslserver=server == _SSLSERVER)
            case LetIn(pid, port):
                protocol = "POP3S" if port == _POP3S_PORT else "POP3"
                self._change(line, pid, lambda known: known._replace(protocol=protocol))
            case Ended(server, pid) if server != _SSLSERVER:
                yield self._end(line, pid)
            case Running(_, 0):
                yield from self._end_all(line)

    def _login(self, line: Line, record: Record) -> Iterator[Login | Session]:
        known = self._open.get((line.origin, record.pid))
        yield Login(line.time, record, known.begun if known else None)
        login = record.protocol, record.result, record.method
        self._change(line, record.pid, lambda known: Session(*known[:4], *login, known.by_sslserver, record))
        if known and known.by_sslserver:
            yield self._end(line, record.pid)

    def _begin(self, line: Line, pid: int, *, by_sslserver: bool) -> Iterator[Session]:
        key = line.origin, pid
        if former := self._open.pop(key, None):  # its end was not seen
            yield former
        self._forget(line.time)
        self._open[key] = Session(line.origin, pid, line.time, by_sslserver=by_sslserver)
        self._ends_are_told &= not by_sslserver

    def _change(self, line: Line, pid: int, change: Callable[[Session], Session]) -> None:
        key = line.origin, pid
        if known := self._open.get(key):
            self._open[key] = change(known)

    def _end(self, line: Line, pid: int) -> Session:
        known = self._open.pop((line.origin, pid), None) or Session(line.origin, pid)
        return known._replace(ended=line.time)

    def _end_all(self, line: Line) -> Iterator[Session]:
        """End what a server that has no process left cannot have; when it ended is not known."""
        for key in [key for key in self._open if key[0] == line.origin]:
            if not self._open[key].by_sslserver:
                yield self._open.pop(key)

    def _forget(self, now: float | None) -> None:
        """Make room, and let go of what sslserver has ended without a word that could be told."""
        while self._open:
            key, oldest = next(iter(self._open.items()))
            is_old = now is not None and oldest.begun is not None and now - oldest.begun > SSLSERVER_SECONDS
            if not (oldest.by_sslserver and is_old) and len(self._open) < MAX_OPEN:
                return
            del self._open[key]
