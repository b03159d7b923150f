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
from qmail_popup.listener.variables import Variables
from qmail_popup.settings import UNKNOWN, Settings
from qmail_popup.subprogram import Outcome

_NOT_RUN = Outcome()


class Session:
    """One connection, from its first frame to its event.

    link: its connection to the sidecar
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
    )

    def __init__(self, frame: Frame, link: socket.socket | None = None) -> None:
        """Begin with the worker's first frame."""
        self.frame, self.link = frame, link
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
        ends = {
            b"LOCALHOST": settings.hostname,
            b"LOCALIP": numeric(self.local.ip),
            b"LOCALPORT": b"%d" % self.local.port,
            b"REMOTEIP": numeric(self.client.ip),
            b"REMOTEPORT": b"%d" % self.client.port,
        }
        variables = {b"TCP" + name: value for name, value in ends.items()}
        variables |= self._tls_variables()
        if settings.spool:
            frame = self.frame
            variables[b"TRACEPARENT"] = f"00-{frame.trace.hex()}-{frame.span.hex()}-01".encode()
        if is_ipv4(self.client.ip):
            return {b"PROTO": b"TCP", **variables}
        return {b"PROTO": b"TCP6", **variables, **{b"TCP6" + name: value for name, value in ends.items()}}

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

    def facts(self) -> "event.Facts":
        """Return the event's facts; before the session's end, those of the hello."""
        outcome, frame, origin = self.outcome, self.frame, self.frame.origin
        known: event.Facts = {
            event.TRACE: frame.trace.hex().encode(),
            event.SPAN: frame.span.hex().encode(),
            event.PROTOCOL: frame.protocol,
            event.PID: self.pid or None,
            event.CLIENT_IP: numeric(self.client.ip),
            event.CLIENT_PORT: self.client.port,
            event.LOCAL_IP: numeric(self.local.ip),
            event.LOCAL_PORT: self.local.port,
            event.T_START: origin + frame.start,
        }
        if not self.ended:
            return known
        return {
            **known,
            event.T_GREETED: origin + frame.greeted if frame.greeted else None,
            event.T_CREDENTIALS: origin + frame.reached if frame.name else None,
            event.T_SPAWNED: outcome.spawned or None,
            event.T_EXITED: outcome.exited or None,
            event.T_ENDED: self.finished,
            event.RECORD: self.record.removesuffix(b"\n"),
            event.ENDED: self.ended.encode(),
            event.ERROR: self.failure.encode(),
            event.REASON: self.reason.encode(),
            event.STATUS: outcome.status,
            event.SIGNAL: outcome.signal,
            event.TLS: frame.version,
            event.CIPHER: frame.cipher.name,
        }
