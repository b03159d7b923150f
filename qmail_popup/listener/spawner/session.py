"""One session as the spawner knows it: what the worker told, what came of the subprogram, and its facts.

Its facts are the event's, its record is the popup's line, its variables are tcpserver's. Values only; nothing
in here is waited for.
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
    """One connection, from the frame that tells of it to its event.

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
        """Begin with what the worker tells of it."""
        self.frame, self.link = frame, link
        self.client, self.local = frame.client, frame.local
        self.outcome = _NOT_RUN
        self.ended = self.failure = self.reason = ""
        self.record = b""
        self.rules: Variables = {}
        self.pid = self.finished = 0

    @property
    def number(self) -> int:
        """What stands where the popup has its pid."""
        return self.frame.number

    @property
    def slot(self) -> int:
        """Which worker it is of."""
        return self.number % SLOTS

    def clock(self) -> int:
        """Return the time of day in nanoseconds, by the clock that the session began with."""
        return self.frame.origin + time.monotonic_ns()

    def timestamp(self, hostname: bytes) -> bytes:
        """Return the one that the greeting had, if it had one."""
        return protocol.timestamp(self.number, self.frame.origin + self.frame.start, hostname)

    @property
    def credentials(self) -> int:
        """Return when they had come, in nanoseconds since 1970."""
        return self.frame.origin + self.frame.reached

    def variables(self, settings: Settings) -> dict[bytes, bytes]:
        """Return what tcpserver would have set (tcp-environ(5)), and for IPv6 what ucspi-tcp6 adds.

        And the trace that it is in, where there is one.
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
        """Return what sslserver would have set, as far as it is known."""
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
        """Return what the event tells, by its names; before the end, the hello."""
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
