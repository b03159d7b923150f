"""The JSON log: one line per session on stdout.

Owns its field names, as tables over the Event (privacy.py has those about a person), and the count of lost
lines. An error here costs only lines.
"""

import sqlite3
from collections.abc import Callable, Sequence

from observability.arrivals.parsing import KILLED, Event
from observability.errors import Errors, Log, describe
from observability.log.messages import Fields, Stream, json_line, timestamp
from observability.privacy import Privacy

_LOSING = "losing lines of the JSON log: its reader has stopped, or it cannot be written"


class SessionLog:
    """One line per session, and one for a record that arrives after its session was counted as killed."""

    def __init__(
        self,
        stream: Stream,
        privacy: Privacy,
        clock: Callable[[], float],
        count_lost: Callable[[int], None],
        log: Log,
    ) -> None:
        """Write to stream what privacy allows.

        clock: seconds since 1970; count_lost: counts this many more lost lines; may raise sqlite3.Error
        """
        self._stream, self._privacy, self._clock, self._count_lost = stream, privacy, clock, count_lost
        self._log, self._errors = log, Errors(log)
        self._render = json_line(("timestamp", *_ALWAYS, "client.address", "trace_id", "span_id"))
        self._unrendered = self._counted = self._logged = self._written = 0

    def __call__(self, counted: Sequence[Event]) -> None:
        """Log the events just counted."""
        self._stream.put("".join(map(self._line, counted)).encode())

    def tick(self) -> None:
        """Count lost lines; log when lines begin to get lost and, once that is over, how many were."""
        lost = self._stream.lost + self._unrendered
        if lost > self._counted:
            self._errors.note("lost", _LOSING)
            self._written = self._stream.written
            self._count(lost)
        elif lost > self._logged and self._stream.written > self._written:
            self._log("warning", f"{lost - self._logged} lines of the JSON log were lost")
            self._errors.note("lost", "")
            self._logged = lost

    def close(self) -> None:
        """Write what is queued, as far as the stream's timeout allows, and count the rest as lost."""
        self._stream.close()
        self.tick()

    def _count(self, lost: int) -> None:
        try:
            self._count_lost(lost - self._counted)
        except sqlite3.Error:
            return  # already logged by the loop; retried at the next tick
        self._counted = lost

    def _line(self, event: Event) -> str:
        try:
            return f"{self._render(self._facts(event))}\n"
        except Exception as error:  # noqa: BLE001  the boundary: one line is worth less than all other sessions
            self._unrendered += 1
            self._errors.note("line", f"cannot format a line of the JSON log: {describe(error)}")
            return ""

    def _facts(self, event: Event) -> Fields:
        known = ((name, value_of(event)) for name, value_of in _WHERE_KNOWN.items())
        return {
            "timestamp": timestamp(self._clock() if event.ended_at is None else event.ended_at / 1e9),
            **{name: value_of(event) for name, value_of in _ALWAYS.items()},
            "client.address": self._privacy.address(event),
            "trace_id": event.trace,
            "span_id": event.session_span,
            **self._privacy.user(event),
            **{name: value for name, value in known if value is not None},
        }


def _auth_duration(event: Event) -> float | None:
    if event.result != "rejected":
        return None  # for an accepted login it would be known only when the session ends
    return event.auth_duration


_ALWAYS: dict[str, Callable[[Event], object]] = {
    "result": lambda event: event.result,
    "method": lambda event: event.method,
    "protocol": lambda event: event.protocol,
    "ended": lambda event: event.ended or KILLED,
    "status": lambda event: event.status,
    "duration": lambda event: event.duration,
    "auth_duration": _auth_duration,
}
_WHERE_KNOWN: dict[str, Callable[[Event], object]] = {
    "reason": lambda event: event.reason,
    "tls.protocol.version": lambda event: event.tls_version,
    "tls.cipher": lambda event: event.cipher,
    "server.address": lambda event: event.local_ip,
    "server.port": lambda event: event.local_port,
    "client.port": lambda event: event.client_port,
}
