"""The sessions of a log: matches records to connections, with their begin and end.

Owns the open connections, by origin and pid. tcpserver's `pid` and `end` lines and the record have the same
pid. sslserver's `end` has another, so there a session ends with its record, and one without a record is
forgotten after a while. Pure: lines in, logins and sessions out. Open sessions can be saved for the next
sidecar.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from observability.arrivals.log_lines import Begun, Ended, LetIn, Line, Record, Running

MAX_OPEN = 20_000  # sessions; beyond that the oldest is forgotten without being counted
SSLSERVER_SECONDS = 1200.0  # the popup's idle timeout: no session before login is older
_SSLSERVER = b"sslserver"
_POP3S_PORT = b"995"


class Session(NamedTuple):
    """A connection, as far as the log shows it.

    begun, ended: seconds since 1970, if known; protocol: from the record, or from the port
    result, method: from the record, empty without one
    record: if read by this process; not saved, because it contains a name and an address
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
        """Its duration; None if begin or end is unknown."""
        if self.begun is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.begun)


class Login(NamedTuple):
    """A record, and when its connection began, if the server logged that."""

    time: float | None
    record: Record
    begun: float | None

    def reason(self, refusal_seconds: float) -> str:
        """Return why it was refused, as far as the log shows."""
        if self.record.method == "Any":
            return "tls_required"
        if self.begun is None or self.time is None:
            return "credentials"
        return "session" if self.time - self.begun > refusal_seconds else "credentials"


class Sessions:
    """The open sessions."""

    def __init__(self, opened: Iterable[Session] = ()) -> None:
        """Restore `opened`, the sessions saved by the previous process."""
        opened = [*opened]
        self._open = {(session.origin, session.pid): session for session in opened}
        self._logs_ends = not any(session.by_sslserver for session in opened)

    @property
    def active(self) -> int | None:
        """Number of open sessions; None with sslserver, whose ends are unknown."""
        return len(self._open) if self._logs_ends else None

    def opened(self) -> list[Session]:
        """Return the open sessions, to be saved."""
        return [session._replace(record=None) for session in self._open.values()]

    def take(self, line: Line) -> Iterator[Login | Session]:
        """Process a line; yield its login, and each session that it ends."""
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
        if former := self._open.pop(key, None):  # its end is missing from the log
            yield former
        self._forget(line.time)
        self._open[key] = Session(line.origin, pid, line.time, by_sslserver=by_sslserver)
        self._logs_ends &= not by_sslserver

    def _change(self, line: Line, pid: int, change: Callable[[Session], Session]) -> None:
        key = line.origin, pid
        if known := self._open.get(key):
            self._open[key] = change(known)

    def _end(self, line: Line, pid: int) -> Session:
        known = self._open.pop((line.origin, pid), None) or Session(line.origin, pid)
        return known._replace(ended=line.time)

    def _end_all(self, line: Line) -> Iterator[Session]:
        """End all sessions of a server that has no process left; when they ended is unknown."""
        for key in [key for key in self._open if key[0] == line.origin]:
            if not self._open[key].by_sslserver:
                yield self._open.pop(key)

    def _forget(self, now: float | None) -> None:
        """Forget the oldest session if there are too many, and sslserver's that must have ended."""
        while self._open:
            key, oldest = next(iter(self._open.items()))
            is_old = now is not None and oldest.begun is not None and now - oldest.begun > SSLSERVER_SECONDS
            if not (oldest.by_sslserver and is_old) and len(self._open) < MAX_OPEN:
                return
            del self._open[key]
