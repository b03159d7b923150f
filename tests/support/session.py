"""One session in a forked child, with client and log at the other ends of its descriptors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

from qmail_popup.session import Session
from qmail_popup.settings import Settings
from tests.support import descriptors
from tests.support.child import run
from tests.support.descriptors import packet_pipe, socket_line

SECOND = 1_000_000_000
START = 1_700_000_000
LOGIN = b"USER bob\r\nPASS secret\r\n"


@dataclass(frozen=True)
class Told:
    """The results of a session."""

    returned: str
    ended: str
    failure: str
    record: bytes
    greeted: int
    credentials: int
    finished: int
    protocol: bytes
    status: int | None
    reason: str
    times: tuple[int, int] | None
    tls_version: bytes | None


class Listener:
    """An observer that acts after the greeting, and adds to the subprogram's environment."""

    def __init__(self, act: Callable[[], None], more: Mapping[bytes, bytes]) -> None:
        self._act, self._more = act, more

    def greeted(self, session: Session) -> None:
        """Act."""
        assert session.greeted
        self._act()

    def environment(self, inherited: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """Return the inherited environment with additions."""
        return {**inherited, **self._more}


class Client:
    """A client and a log, and the child that serves them."""

    def __init__(self) -> None:
        self.line, *self._ends = socket_line()
        self.log, self._log = packet_pipe()
        self.fds = {0: self._ends[0], 1: self._ends[1], 2: self._log, 5: self._log}

    def say(self, said: bytes, task: Callable[[], Told], **fds: int) -> tuple[list[bytes], Told]:
        """Send everything at once and half-close; return the received lines and the results."""
        self.line.send(said)
        self.line.end()
        told = run(task, self.fds | {int(name.removeprefix("fd")): fd for name, fd in fds.items()})
        self.hand_over()
        return self.line.receive_all().splitlines(keepends=True), told

    def hand_over(self) -> None:
        """Close our copies of the child's ends."""
        descriptors.close(self.fds.values())

    def records(self) -> list[bytes]:
        """Return the writes to the log."""
        return descriptors.writes(self.log)

    def close(self) -> None:
        """Close all."""
        self.hand_over()
        self.line.close()
        descriptors.close({self.log})


def session(
    *subprogram: str,
    log: int | None = 5,
    on_greeted: Callable[[], None] = lambda: None,
    observed: Mapping[bytes, bytes] | None = None,
    before: Callable[[], object] = lambda: None,
    env: Mapping[str, str] | None = None,
    **more: str,
) -> Callable[[], Told]:
    """Return a task that serves one session; its clock advances by a second at each reading, from START."""

    def task() -> Told:
        before()
        inherited = {name.encode(): value.encode() for name, value in {**(env or {}), **more}.items()}
        arguments = [b"pop.example.org", *(part.encode() for part in subprogram or ("/bin/true",))]
        ticks = count(START * SECOND, SECOND)
        settings = Settings(arguments, inherited)
        observer = Listener(on_greeted, observed or {})
        live = Session(settings, inherited, pid=7, clock=lambda: next(ticks), log=log, observer=observer)
        return told(live, live.run())

    return task


def told(live: Session, returned: str) -> Told:
    """Collect the results of a session."""
    outcome = live.outcome
    return Told(
        returned=returned,
        ended=live.ended,
        failure=live.failure,
        record=live.record,
        greeted=_passed(live.greeted),
        credentials=_passed(live.credentials),
        finished=_passed(live.finished),
        protocol=live.protocol_name,
        status=outcome.status if outcome else None,
        reason=live.reason,
        times=(_passed(outcome.spawned), _passed(outcome.exited)) if outcome else None,
        tls_version=live.tls_variables.get(b"SSL_PROTOCOL"),
    )


def _passed(reading: int) -> int:
    """Return the seconds from START to a reading of the clock; 0 if there is none."""
    return reading // SECOND - START if reading else 0


def record(result: str, *, protocol: str = "POP3", name: str = "bob") -> bytes:
    """Return the expected record."""
    return f"qmail-popup: pid 7 {result} P:{protocol} S:unknown:unknown ?~ '{name}'\n".encode()
