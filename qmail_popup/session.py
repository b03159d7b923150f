"""One session, from the greeting to the record: carries out, in order, what `protocol` decides.

Owns the order of events: the reply comes before the record; the network is closed before anything waits for
a log; and signals are blocked from the login on, so that every login gets its record and event even if the
client or server disconnects. Each action is a function that returns None to continue, or how the session
ended: accepted, rejected, crashed, tls_required, quit, disconnected, timeout, tls_failed, error. The modules
for TLS, logins and the record are imported on first use: a session without a login does not need them.
"""

from qmail_popup import protocol
from qmail_popup.descriptors import close
from qmail_popup.settings import TLS_DESCRIPTORS
from qmail_popup.wire import IN, OUT, Wire, wipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence
    from typing import ClassVar, Protocol

    from qmail_popup import login, subprogram, tls
    from qmail_popup.settings import Settings

    class Observer(Protocol):
        """Observes a session, and may change its subprogram's environment."""

        def greeted(self, session: "Session") -> None:
            """Note that the greeting was sent."""

        def environment(self, inherited: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
            """Return the environment for the subprogram."""

else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

# sslserver sends SIGTERM as soon as its client or pipe is closed; work that has begun must still finish.
_HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
EXIT_STATUS = {"accepted": 0, "quit": 0}  # 1 for all others


class Session:
    """One connection, and afterwards what happened on it.

    record: the line for descriptor 5, b"" if there was none
    ended: see the module; failure: "pipe", "fork" or "control" if ended is "error"
    outcome: the subprogram's, if one was to run; reason: why it refused, "" if it did not
    started, greeted, credentials, finished: nanoseconds of `clock`, 0 if not reached
    """

    def __init__(  # noqa: PLR0913  the parts of a session, each replaced in tests
        self,
        settings: "Settings",
        environ: "Mapping[bytes, bytes]",
        *,
        pid: int,
        clock: "Callable[[], int]",
        log: int | None,
        observer: "Observer | None" = None,
    ) -> None:
        """Prepare. environ: as inherited; log: the descriptor for the record, if any."""
        self.pid, self.started = pid, clock()
        self._claimed = _claim(settings.tls_descriptors)
        stls = len(self._claimed) == len(TLS_DESCRIPTORS) and settings.tls_wanted
        timestamp = protocol.timestamp(pid, self.started, settings.hostname)
        self._settings, self._environ = settings, environ
        self._clock, self._log_fd, self._observer = clock, log, observer
        self._wire = Wire(settings.idle_timeout, protocol.MAX_LINE, settings.login_timeout)
        self._handshake: tls.Handshake | None = None
        self._sigterm: tls.Sigterm | None = None
        self._inherited_mask: set[int] | None = None
        self._has_hung_up = False
        self._state = protocol.Authorization(
            timestamp,
            apop=settings.apop,
            stls=stls,
            tls_required=settings.tls_required,
            tls=settings.tls_on,
            resp_codes=settings.resp_codes,
        )
        self._attempt: login.Login | None = None
        self.ended = self.failure = self.reason = ""
        self.record = b""
        self.outcome: subprogram.Outcome | None = None
        self.greeted = self.credentials = self.finished = 0

    @property
    def protocol_name(self) -> bytes:
        """POP3, or POP3S if TLS is active."""
        return b"POP3S" if self._state.tls else b"POP3"

    @property
    def tls_variables(self) -> "Mapping[bytes, bytes]":
        """The server's TLS variables: from the handshake, or from the environment."""
        return self._handshake.answer if self._handshake else self._environ

    def run(self) -> str:
        """Serve the client; return how the session ended."""
        self._watch()
        ended = self._greet()
        while not ended:
            ended = self._command() or self._decide()
        self._hold_signals()
        self.ended = self._handshake.why(ended) if self._handshake else ended
        self.finished = self._clock()
        return self.ended

    def descriptors(self) -> "set[int]":
        """Return the descriptors whose closing the client and the TLS server wait for."""
        if self._has_hung_up:  # the server's numbers may have been reused by now
            return {IN, OUT}
        return {IN, OUT, *([self._handshake.control] if self._handshake else self._claimed)}

    def _hang_up(self) -> None:
        """Disconnect the client: the server holds its socket open while our control socket is open."""
        close(self.descriptors())
        self._has_hung_up = True

    def _watch(self) -> None:
        """Treat SIGTERM as the end of input, if the server does TLS."""
        if not self._claimed and not self._environ.get(b"SSL_PROTOCOL"):
            return
        try:
            from qmail_popup import tls
        except (ImportError, OSError):  # no descriptor left to read the module with
            return
        self._sigterm = self._wire.watch = tls.watch()

    def _hold_signals(self) -> None:
        """Block the signals that would end this process, until it exits."""
        if self._inherited_mask is None:
            self._inherited_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)

    def _greet(self) -> str | None:
        if ended := self._wire.reply(self._state.greeting()):
            return ended
        self.greeted = self._clock()
        if self._observer:
            self._observer.greeted(self)
        return None

    def _command(self) -> str | None:
        line = self._wire.line(self._state.read_limit)
        if isinstance(line, str):
            return line
        try:
            reply, action = self._state.command(line)
            return self._actions[action](self, self._wire.reply(reply))
        finally:
            wipe(line)  # the only copy of a possible password; every line ends here

    def _go_on(self, gone: str | None) -> str | None:
        return None if self._wire.serves_on(gone) else gone

    def _quit(self, gone: str | None) -> str | None:
        return gone or "quit"

    def _refuse_clear(self, _gone: str | None) -> str | None:
        self._hold_signals()
        self._log(b"Reject::STLS::Any", b"unknown")
        return "tls_required"

    def _start_tls(self, gone: str | None) -> str | None:
        if gone:
            return gone
        from qmail_popup import tls

        self._handshake = tls.start(self._settings.tls_descriptors, self._sigterm)
        if not self._handshake:
            return self._fail("control", protocol.error(b"TLS startup failed"))
        self._wire.watch = self._handshake
        self._state.tls_started()
        return None

    def _login(self, _gone: str | None) -> str | None:
        """Start the subprogram; `_decide` handles its outcome."""
        self._hold_signals()
        self.credentials = self._clock()
        self._wire.deadline = None
        if failed := self._handshake and self._handshake.look():
            return failed
        if watch := self._handshake or self._sigterm:
            watch.release()  # otherwise a signal ignored here would have its default action in the subprogram
        try:
            from qmail_popup import login, subprogram
        except (ImportError, OSError):  # no descriptor left to read it with, so none for a pipe either
            return self._fail("pipe", protocol.unable("pipe", resp_codes=self._settings.resp_codes))
        self._attempt = login.Login(self._settings, self._state.credentials, self.credentials, self._clock)
        tls_variables = self._handshake.answer if self._handshake else {}
        environ = subprogram.environment(self._inherited(), tls_variables)
        self._attempt.start(self._state.timestamp, environ, (self._inherited_mask or set()).difference(_HELD))
        return None

    def _inherited(self) -> "Mapping[bytes, bytes]":
        return self._observer.environment(self._environ) if self._observer else self._environ

    def _decide(self) -> str | None:
        """Wait for the subprogram, if there is one, then report its verdict to client, log and operator."""
        if not self._attempt:
            return None
        self.outcome = self._attempt.wait()
        self.reason, self.failure = self._attempt.reason, self._attempt.failure
        self._wire.reply(self._attempt.reply)
        if self._attempt.verdict:
            self._log(self._attempt.verdict, self._state.credentials.name)
        self._attempt.complain(self.descriptors())
        return self._attempt.ended

    def _fail(self, failure: str, reply: bytes) -> str:
        """Reply to the client after a failure of our own, which leaves no record."""
        self.failure = failure
        self._wire.reply(reply)
        return "error"

    def _log(self, verdict: bytes, name: bytes) -> None:
        from qmail_popup import record

        settings = self._settings
        self.record = record.compose(
            pid=self.pid,
            verdict=verdict,
            protocol=self.protocol_name,
            ip=settings.client_ip,
            host=settings.client_host,
            name=name,
        )
        if self._log_fd is not None:
            timeout = min(record.TIMEOUT_SECONDS, settings.idle_timeout)
            record.append(self._log_fd, self.record, timeout, self._hang_up)

    _actions: "ClassVar[dict[str, Callable[[Session, str | None], str | None]]]" = {  # noqa: RUF012
        protocol.GO_ON: _go_on,
        protocol.QUIT: _quit,
        protocol.LOGIN: _login,
        protocol.START_TLS: _start_tls,
        protocol.REFUSE_CLEAR: _refuse_clear,
    }


def _claim(descriptors: "Sequence[int]") -> "list[int]":
    """Return the descriptors that are open; import tls only if the server passed any."""
    if not descriptors:
        return []
    from qmail_popup import tls

    return tls.claim(descriptors)
