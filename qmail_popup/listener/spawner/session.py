"""One session in the spawner: the worker's frame, the subprogram's outcome, and what is derived from them.

Derives the event's facts, the record as the popup writes it, and the variables that tcpserver sets. Values
only: nothing here does I/O.
"""

import socket
import time

from observability import event
from qmail_popup import protocol, record
from qmail_popup.listener.addresses import is_ipv4, numeric
from qmail_popup.listener.ipc.frames import SLOTS, Frame
from qmail_popup.listener.spawner.blocks import block, form
from qmail_popup.listener.tls.suites import CLEAR
from qmail_popup.listener.variables import Variables
from qmail_popup.settings import UNKNOWN, Settings
from qmail_popup.subprogram import Outcome

_NOT_RUN = Outcome()
_HELLO = form(
    (
        event.TRACE,
        event.SPAN,
        event.PROTOCOL,
        event.CLIENT_IP,
        event.CLIENT_PORT,
        event.LOCAL_IP,
        event.LOCAL_PORT,
        event.T_START,
    )
)


class Session:
    """One connection, from its first frame to its event.

    link: its connection to the sidecar; trace, span: its identity in hexadecimal
    rules: variables that the rules set for it
    ended, failure, outcome, record, finished: as in the popup's session
    """

    __slots__ = (
        "client",
        "ended",
        "failure",
        "finished",
        "frame",
        "link",
        "local",
        "outcome",
        "pid",
        "reason",
        "record",
        "rules",
        "span",
        "trace",
    )

    def __init__(self, frame: Frame) -> None:
        """Begin with the worker's first frame."""
        self.frame = frame
        self.link: socket.SocketType | None = None
        self.trace, self.span = frame.trace.hex().encode(), frame.span.hex().encode()
        self.client, self.local = frame.client, frame.local
        self.outcome = _NOT_RUN
        self.ended = self.failure = self.reason = ""
        self.record = b""
        self.rules: Variables = {}
        self.pid = self.finished = 0

    @property
    def number(self) -> int:
        """The number used where the popup uses its pid."""
        return self.frame.number

    @property
    def slot(self) -> int:
        """The slot of its worker."""
        return self.number % SLOTS

    def clock(self) -> int:
        """Return the time of day in nanoseconds, immune to changes of the host's clock during the session."""
        return self.frame.origin + time.monotonic_ns()

    def timestamp(self, hostname: bytes) -> bytes:
        """Return the timestamp that the greeting had, if any."""
        return protocol.timestamp(self.number, self.frame.origin + self.frame.start, hostname)

    @property
    def credentials(self) -> int:
        """When the credentials were complete, in nanoseconds since 1970."""
        return self.frame.origin + self.frame.reached

    def variables(self, settings: Settings) -> dict[bytes, bytes]:
        """Return the variables of tcpserver (tcp-environ(5)), of ucspi-tcp6 for IPv6, of sslserver for TLS.

        With a spool, also TRACEPARENT.
        """
        variables = {
            b"PROTO": b"TCP",
            b"TCPLOCALHOST": settings.hostname,
            b"TCPLOCALIP": numeric(self.local.ip),
            b"TCPLOCALPORT": b"%d" % self.local.port,
            b"TCPREMOTEIP": numeric(self.client.ip),
            b"TCPREMOTEPORT": b"%d" % self.client.port,
        }
        if not is_ipv4(self.client.ip):
            variables |= {name.replace(b"TCP", b"TCP6"): value for name, value in variables.items()}
            variables[b"PROTO"] = b"TCP6"
        if self.frame.tls != CLEAR:
            variables |= self._tls_variables()
        if settings.spool:
            variables[b"TRACEPARENT"] = b"00-%b-%b-01" % (self.trace, self.span)
        return variables

    def _tls_variables(self) -> dict[bytes, bytes]:
        """Return sslserver's variables, as far as known."""
        version, (cipher, bits) = self.frame.version, self.frame.cipher
        variables = {b"SSL_PROTOCOL": version} if version else {}
        if cipher:
            names = (b"SSL_CIPHER_USEKEYSIZE", b"SSL_CIPHER_ALGKEYSIZE")
            variables |= {b"SSL_CIPHER": cipher, **dict.fromkeys(names, b"%d" % bits)}
        return variables

    def write_record(self, verdict: bytes, name: bytes) -> None:
        """Compose the line of descriptor 5."""
        self.record = record.compose(
            pid=self.number,
            verdict=verdict,
            protocol=self.frame.protocol,
            ip=numeric(self.client.ip),
            host=UNKNOWN,
            name=name,
        )

    def hello(self) -> bytes:
        """Return the hello's block."""
        return _HELLO % (
            self.trace,
            self.span,
            self.frame.protocol,
            numeric(self.client.ip),
            self.client.port,
            numeric(self.local.ip),
            self.local.port,
            self.frame.origin + self.frame.start,
        )

    def event(self) -> bytes:
        """Return the event's block."""
        facts = self._known()
        self._add_times(facts)
        self._add_end(facts)
        if self.frame.tls != CLEAR:
            self._add_tls(facts)
        return block(facts)

    def _known(self) -> "dict[bytes, bytes | int]":
        """Return what is known before the session's end."""
        facts: dict[bytes, bytes | int] = {
            event.TRACE: self.trace,
            event.SPAN: self.span,
            event.PROTOCOL: self.frame.protocol,
            event.PID: self.pid,
            event.CLIENT_IP: numeric(self.client.ip),
            event.CLIENT_PORT: self.client.port,
            event.LOCAL_IP: numeric(self.local.ip),
            event.LOCAL_PORT: self.local.port,
            event.T_START: self.frame.origin + self.frame.start,
        }
        if not self.pid:
            del facts[event.PID]
        return facts

    def _add_times(self, facts: dict[bytes, bytes | int]) -> None:
        frame, outcome = self.frame, self.outcome
        if frame.greeted:
            facts[event.T_GREETED] = frame.origin + frame.greeted
        if frame.name:
            facts[event.T_CREDENTIALS] = frame.origin + frame.reached
        if outcome.spawned:
            facts[event.T_SPAWNED] = outcome.spawned
        if outcome.exited:
            facts[event.T_EXITED] = outcome.exited
        facts[event.T_ENDED] = self.finished

    def _add_end(self, facts: dict[bytes, bytes | int]) -> None:
        outcome = self.outcome
        if self.record:
            facts[event.RECORD] = self.record[:-1]
        facts[event.ENDED] = self.ended.encode()
        if self.failure:
            facts[event.ERROR] = self.failure.encode()
        if self.reason:
            facts[event.REASON] = self.reason.encode()
        if outcome.status is not None:
            facts[event.STATUS] = outcome.status
        if outcome.signal:
            facts[event.SIGNAL] = outcome.signal

    def _add_tls(self, facts: dict[bytes, bytes | int]) -> None:
        version, (cipher, _bits) = self.frame.version, self.frame.cipher
        if version:
            facts[event.TLS] = version
        if cipher:
            facts[event.CIPHER] = cipher
