"""`qmail-popup hostname subprogram [argument...]`: arguments and environment in, exit status out.

The one place that puts the parts together, the mirror included, and the one boundary at which a fault
of our own ends: as status 1 and one line on descriptor 2, never as a traceback.
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
# A long-lived tcpserver's own would tie all sessions into one trace.
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
    """Run one session on the descriptors of this process; its exit status."""
    _restore_signals()
    try:
        return _start(_arguments())
    except BaseException as fault:  # noqa: BLE001  the boundary: whatever it is, the server gets a status and no traceback
        _complain(fault)
        return _FAILED


def _restore_signals() -> None:
    """Undo what the interpreter did to SIGINT, and what a caller may have done to SIGCHLD."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Ignored, the kernel would throw the subprogram's status away.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _arguments() -> list[bytes]:
    """Return argv behind the program's name, as the bytes that it was."""
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
    """Has a session mirrored, from its greeting to its end; where that fails, the session goes on without."""

    def __init__(self, settings: Settings) -> None:
        """Wait for the greeting: until then nothing is imported, for somebody waits."""
        self._settings = settings
        self._mirror: Mirror | None = None
        self._is_tried = False

    def greeted(self, session: Session) -> None:
        """Tell the sidecar that the session has begun; swallows every fault, of the import too."""
        self._is_tried = True
        try:
            from observability.mirror import Mirror

            self._mirror = Mirror(self._settings)
            self._mirror.hello(session)
        except Exception:  # noqa: BLE001, S110  whatever it was, a login is worth more
            pass

    def environment(self, inherited: "Mapping[bytes, bytes]") -> "dict[bytes, bytes]":
        """Return what the subprogram inherits: the trace that it belongs to is this session's, or none."""
        environ = {name: value for name, value in inherited.items() if name not in _TRACE_CONTEXT}
        if self._mirror:
            environ[_TRACE_CONTEXT[0]] = self._mirror.traceparent
        return environ

    def ended(self, session: Session) -> None:
        """Deliver the event, also of a client that was gone before the greeting."""
        if not self._is_tried:
            self.greeted(session)
        if not self._mirror:
            return
        stderr = _kept(self._settings) if self._settings.pusher else None
        self._mirror.finish(session, lambda: close(session.descriptors() | {STDERR, LOG}))
        if self._settings.pusher:
            self._mirror.ensure_pusher(sys.argv[0], self._settings.pusher, stderr)


def _kept(settings: Settings) -> int | None:
    """Return descriptor 2 by another number, for what the last pusher failed at; None where there is none."""
    try:
        from qmail_popup import stderr
    except (ImportError, OSError):  # no descriptor is left
        return None
    return None if STDERR in settings.tls_descriptors else stderr.kept()


def _clock() -> "Callable[[], int]":
    """Return a clock of nanoseconds since 1970 that never runs backwards: the time of day is read once."""
    start = time.time_ns() - time.monotonic_ns()
    return lambda: start + time.monotonic_ns()


def _complain(fault: BaseException) -> None:
    """Say what kind of fault it was; what it says may hold anything, so that is not shown."""
    try:
        posix.write(2, b"qmail-popup: fault: %s\n" % type(fault).__name__.encode())
    except OSError:
        pass


if __name__ == "__main__":
    posix._exit(main())  # noqa: SLF001  its public name is in os, and is an import
