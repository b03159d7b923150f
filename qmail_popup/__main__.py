"""`qmail-popup hostname subprogram [argument...]`: arguments and environment in, exit status out.

The one place that puts the parts together, the mirror included, and the one boundary at which a fault
of our own ends: as status 1 and one line on descriptor 2, never as a traceback.
"""

import posix
import sys
import time

from qmail_popup import VERSION
from qmail_popup.session import EXIT_STATUS, Session
from qmail_popup.settings import UNKNOWN, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from observability.mirror import Mirror
else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

STDERR, LOG = 2, 5
_FAILED = 1
_ARGUMENTS_LEAST = 2
# A long-lived tcpserver's own would tie all sessions into one trace.
_TRACE_CONTEXT = (b"TRACEPARENT", b"TRACESTATE", b"BAGGAGE")
_USAGE = b"-ERR usage: popup hostname subprogram\r\n"
_FOR_PEOPLE = {
    b"--version": b"qmail-popup %s\n" % VERSION.encode(),
    b"--help": b"""usage: qmail-popup hostname subprogram [argument...]

Reads a POP3 user name and password (or APOP) on descriptor 0, answers on descriptor 1, runs
subprogram with name, password and timestamp on its descriptor 3, and writes one line about who
was accepted or rejected on descriptor 5. Started by tcpserver or sslserver for each connection.

Environment: POP3AUTH=apop, UCSPITLS='' (offer STLS), ! (require it) or - (none), QMAIL_POPUP_TIMEOUT,
QMAIL_POPUP_RESP_CODES=1, QMAIL_POPUP_STDERR=keep. See qmail-popup(8).
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
        _say(_FOR_PEOPLE[arguments[0]])
        return 0
    if len(arguments) < _ARGUMENTS_LEAST:
        _say(_USAGE)
        return _FAILED
    return _serve(Settings(arguments, posix.environ))


def _say(text: bytes) -> None:
    try:
        posix.write(1, text)
    except OSError:
        pass


def _serve(settings: Settings) -> int:
    log = LOG if LOG not in settings.tls_descriptors and _is_open(LOG) else None
    clock = _clock()
    if settings.spool:
        ended = _serve_mirrored(settings, clock, log)
    else:
        ended = Session(settings, posix.environ, pid=posix.getpid(), clock=clock, log=log).run()
    return EXIT_STATUS.get(ended, _FAILED)


def _serve_mirrored(settings: Settings, clock: "Callable[[], int]", log: int | None) -> str:
    """Run one session and mirror it: its begin behind the greeting, its end when nobody waits any more."""
    environ = {name: value for name, value in posix.environ.items() if name not in _TRACE_CONTEXT}
    start = clock()
    mirrors: list[Mirror | None] = []

    def begin() -> None:
        mirrors.append(_mirror(settings, session, environ, start))

    session = Session(settings, environ, pid=posix.getpid(), clock=clock, log=log, on_greeted=begin)
    ended = session.run()
    if not mirrors:  # the client was gone before the greeting: a session all the same
        begin()
    if mirrors[0]:
        fields = {**_known(settings, session, start), b"T_ENDED": b"%d" % clock()}
        _finish(settings, mirrors[0], session, fields)
    return ended


def _mirror(settings: Settings, session: Session, environ: dict[bytes, bytes], start: int) -> "Mirror | None":
    """Begin to mirror; swallows every fault, of the import too: the session then goes on without."""
    try:
        from observability.mirror import Mirror

        mirror = Mirror(settings.sidecar, settings.spool)
        mirror.hello(_known(settings, session, start))
    except Exception:  # noqa: BLE001  whatever it was, a login is worth more
        return None
    environ[b"TRACEPARENT"] = mirror.traceparent
    return mirror


def _finish(settings: Settings, mirror: "Mirror", session: Session, fields: "dict[bytes, bytes]") -> None:
    """Let everybody go who waits for the end of a descriptor of ours, and only then deliver the event."""
    for fd in session.descriptors() | {STDERR, LOG}:
        try:
            posix.close(fd)
        except OSError:
            pass
    mirror.finish({**fields, **_story(session)})
    if settings.pusher:
        mirror.see_to_pusher(sys.argv[0], settings.pusher)


def _known(settings: Settings, session: Session, start: int) -> "dict[bytes, bytes]":
    """Return what is known of a session from its start, by the names of the event."""
    told = {
        b"CLIENT_IP": settings.client_ip,
        b"CLIENT_HOST": settings.client_host,
        b"CLIENT_PORT": settings.client_port,
        b"LOCAL_IP": settings.local_ip,
        b"LOCAL_PORT": settings.local_port,
    }
    return {
        b"PID": b"%d" % posix.getpid(),
        b"PROTOCOL": session.protocol_name,
        b"T_START": b"%d" % start,
        **{name: value for name, value in told.items() if value not in (b"", UNKNOWN)},
    }


def _story(session: Session) -> "dict[bytes, bytes]":
    """Return how a session went, by the names of the event; what was not reached is left out."""
    outcome = session.outcome
    numbers = {b"T_GREETED": session.greeted or None, b"T_CREDENTIALS": session.credentials or None}
    if outcome:
        numbers[b"T_SPAWNED"], numbers[b"T_EXITED"] = outcome.spawned or None, outcome.exited or None
        numbers[b"STATUS"], numbers[b"SIGNAL"] = outcome.status, outcome.signal
    words = {
        b"RECORD": session.record.removesuffix(b"\n"),
        b"ENDED": session.ended.encode(),
        b"ERROR": session.failure.encode(),
        b"TLS": session.tls_variables.get(b"SSL_PROTOCOL"),
        b"CIPHER": session.tls_variables.get(b"SSL_CIPHER"),
    }
    return {
        **{name: b"%d" % number for name, number in numbers.items() if number is not None},
        **{name: word for name, word in words.items() if word},
    }


def _is_open(fd: int) -> bool:
    try:
        posix.fstat(fd)
    except OSError:
        return False
    return True


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
