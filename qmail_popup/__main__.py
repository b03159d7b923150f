"""`qmail-popup hostname subprogram [argument...]`: arguments and environment in, exit status out.

The only place that assembles the parts, the mirror included. It is also the boundary where our own
failures end: as status 1 and one line on descriptor 2, never as a traceback.
"""

import posix
import sys
import time

from qmail_popup import VERSION
from qmail_popup.descriptors import close, is_open
from qmail_popup.session import EXIT_STATUS, Session
from qmail_popup.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping

    from observability.mirror import Mirror
else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

STDERR, LOG = 2, 5
_FAILED = 1
_MIN_ARGUMENTS = 2
# Inherited from a long-lived tcpserver, these would put all sessions into one trace.
_TRACE_CONTEXT = (b"TRACEPARENT", b"TRACESTATE", b"BAGGAGE")
_USAGE = b"-ERR usage: popup hostname subprogram\r\n"
_FOR_PEOPLE = {
    b"--version": b"qmail-popup %s\n" % VERSION.encode(),
    b"--help": b"""usage: qmail-popup hostname subprogram [argument...]
       qmail-popup --check hostname subprogram [argument...]

Reads a POP3 user name and password (or APOP) on descriptor 0, answers on descriptor 1, runs
subprogram with name, password and timestamp on its descriptor 3, and writes one line about who
was accepted or rejected on descriptor 5. Started by tcpserver or sslserver for each connection.

With --check it serves no client, and prints what is wrong with this environment and these arguments,
or what a session would do. Run it in the environment of the run script.

Environment: POP3AUTH=apop, UCSPITLS='' (offer STLS), ! (require it) or - (none), QMAIL_POPUP_TIMEOUT,
QMAIL_POPUP_LOGIN_TIMEOUT, QMAIL_POPUP_REFUSAL_SECONDS, QMAIL_POPUP_EXITS, QMAIL_POPUP_RESP_CODES=1,
QMAIL_POPUP_STDERR=keep. See qmail-popup(8).
""",
}


def main() -> int:
    """Run one session on this process's descriptors and return the exit status."""
    _restore_signals()
    try:
        return _start(_arguments())
    except BaseException as fault:  # noqa: BLE001  the boundary: any failure becomes an exit status, never a traceback
        _complain(fault)
        return _FAILED


def _restore_signals() -> None:
    """Undo the interpreter's change to SIGINT, and any change to SIGCHLD by the caller."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # With SIGCHLD ignored, the kernel would discard the subprogram's exit status.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _arguments() -> list[bytes]:
    """Return the arguments after the program's name, as the original bytes."""
    encoding = sys.getfilesystemencoding()
    return [argument.encode(encoding, "surrogateescape") for argument in sys.argv[1:]]


def _start(arguments: list[bytes]) -> int:
    if len(arguments) == 1 and arguments[0] in _FOR_PEOPLE:
        _print(_FOR_PEOPLE[arguments[0]])
        return 0
    if len(arguments) < _MIN_ARGUMENTS:
        _print(_USAGE)
        return _FAILED
    if arguments[0] == b"--check" and len(arguments) > _MIN_ARGUMENTS:
        from qmail_popup import check

        complaints = check.complaints(arguments[1:], posix.environ)
        _print(b"".join(complaints or check.description(arguments[1:], posix.environ)))
        return _FAILED if complaints else 0
    return _serve(Settings(arguments, posix.environ))


def _print(text: bytes) -> None:
    try:
        posix.write(1, text)
    except OSError:
        pass


def _serve(settings: Settings) -> int:
    log = LOG if LOG not in settings.tls_descriptors and is_open(LOG) else None
    observer = _Observer(settings) if settings.spool else None
    session = Session(settings, posix.environ, pid=posix.getpid(), clock=_clock(), log=log, observer=observer)
    ended = session.run()
    if observer:
        observer.ended(session)
    return EXIT_STATUS.get(ended, _FAILED)


class _Observer:
    """Mirrors a session from greeting to end; if that fails, the session goes on without it."""

    def __init__(self, settings: Settings) -> None:
        """Import nothing until the greeting is out: the client is waiting for it."""
        self._settings = settings
        self._mirror: Mirror | None = None
        self._is_tried = False

    def greeted(self, session: Session) -> None:
        """Send the sidecar a hello. Swallows every exception, import errors included."""
        self._is_tried = True
        try:
            from observability.mirror import Mirror

            self._mirror = Mirror(self._settings)
            self._mirror.hello(session)
        except Exception:  # noqa: BLE001, S110  a login is worth more than its event
            pass

    def environment(self, inherited: "Mapping[bytes, bytes]") -> "dict[bytes, bytes]":
        """Return the subprogram's environment, with this session's trace context or none at all."""
        environ = {name: value for name, value in inherited.items() if name not in _TRACE_CONTEXT}
        if self._mirror:
            environ[_TRACE_CONTEXT[0]] = self._mirror.traceparent
        return environ

    def ended(self, session: Session) -> None:
        """Deliver the event, even if the client disconnected before the greeting."""
        if not self._is_tried:
            self.greeted(session)
        if not self._mirror:
            return
        stderr = _kept(self._settings) if self._settings.pusher else None
        self._mirror.finish(session, lambda: close(session.descriptors() | {STDERR, LOG}))
        if self._settings.pusher:
            self._mirror.ensure_pusher(sys.argv[0], self._settings.pusher, stderr)


def _kept(settings: Settings) -> int | None:
    """Return a duplicate of descriptor 2 to report why the last pusher failed, or None."""
    try:
        from qmail_popup import stderr
    except (ImportError, OSError):  # no descriptor left
        return None
    return None if STDERR in settings.tls_descriptors else stderr.kept()


def _clock() -> "Callable[[], int]":
    """Return a clock in nanoseconds since 1970 that never goes back: it reads the time of day only once."""
    start = time.time_ns() - time.monotonic_ns()
    return lambda: start + time.monotonic_ns()


def _complain(fault: BaseException) -> None:
    """Name the exception's type only: its message may contain anything, even a password."""
    try:
        posix.write(2, b"qmail-popup: fault: %s\n" % type(fault).__name__.encode())
    except OSError:
        pass


if __name__ == "__main__":
    posix._exit(main())  # noqa: SLF001  its public name is in os, which would have to be imported
