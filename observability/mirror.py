"""The mirror: runs in the popup, builds the session's event and sends it to the sidecar or the spool.

Imported only if the operator enabled it. Owns the contents of the event, its identity, one connection and a
deadline. Nothing here may delay, change or fail a login, so the public methods swallow every exception, as
their docstrings say. It waits only after the client and everyone else have been disconnected. From then on
an alarm ends the popup if its file system hangs, because open(2) and write(2) could wait forever.

Descriptors kept during the session must not be mistaken for others: they avoid 0 to 5 and those that the
server has named. Once those are closed, any number will do.
"""

import posix
import select
import time

from observability import event
from qmail_popup.descriptors import first_free

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection, Mapping

    from observability.event import Fact, Session, Settings
else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

ANSWER_SECONDS = 0.25  # for all attempts to reach the sidecar together
SPOOL_SECONDS = 0.05  # after that, for the spool
MAX_SECONDS = ANSWER_SECONDS + SPOOL_SECONDS  # from the last reply and the record to exit
MAX_SLOWER = 20  # so many times more on a host that starves the popup
_LOW = range(6)  # the network, stderr, descriptor 3 of a subprogram, the log
_ABOVE = 10
_SPARE = 5  # descriptors that a session may still need: three to start TLS, a pipe for the subprogram
_UNNAMED = b"unknown"  # the value in settings if the server names no client


class Mirror:
    """Delivers one session's event.

    traceparent: W3C Trace Context of the subprogram's span, for its environment
    """

    def __init__(self, settings: "Settings") -> None:
        """Generate the trace and span identities."""
        self._settings = settings
        self._barred = {*_LOW, *settings.tls_descriptors}
        self._connection: int | None = None
        self._tries = 2  # the session's connection, and one more
        self._end = 0.0  # when the popup has to exit, by the monotonic clock; 0 before finish()
        self._is_armed = False
        trace, span = posix.urandom(16).hex().encode(), posix.urandom(8).hex().encode()
        self._identity: dict[bytes, Fact] = {event.TRACE: trace, event.SPAN: span}
        self.traceparent = b"00-%s-%s-01" % (trace, span)

    def hello(self, session: "Session") -> None:
        """Send the sidecar a hello. Swallows every exception: finish() tries again."""
        try:
            if self._settings.sidecar:
                self._send(self._block(_known(self._settings, session)))
        except OSError:
            self._hang_up()
        except Exception:  # noqa: BLE001, S110  the boundary: a login is worth more than its event
            pass

    def finish(self, session: "Session", hang_up: "Callable[[], None]") -> None:
        """Deliver the event. Swallows every exception; its waits are bounded, and it runs last.

        It first sends what it can without waiting, then calls `hang_up` to disconnect everyone who waits for
        the session, and only then waits.
        """
        block, is_sent, self._end = b"", False, time.monotonic() + MAX_SECONDS
        try:
            block = self._block({**_known(self._settings, session), **_story(session)})
            is_sent = self._is_sent(block)
            if not self._is_armed:  # what is closed now may hang too; what is sent counts even then
                self._set_alarm(1 if is_sent else _slower())
        except Exception:  # noqa: BLE001, S110  the boundary, as above
            pass
        hang_up()
        self._barred.clear()
        try:
            if block and not self._is_acknowledged(block, is_sent=is_sent):
                self._set_alarm(_slower())
                from observability import spoolfile  # not needed if the sidecar answered

                spoolfile.leave(self._settings.spool, block)
        except Exception:  # noqa: BLE001, S110  the boundary, as above; leave has counted a loss if it could
            pass

    def ensure_pusher(self, program: str, options: "Mapping[bytes, bytes]", log: int | None = None) -> None:
        """Start a pusher unless one runs: the popup that gets the lock starts it and passes the lock on.

        program: argv[0] of this process; options: the pusher's; log: receives the last pusher's error.
        Call it after `finish`: a pusher that is about to exit checks the spool after releasing the lock.
        """
        try:
            from observability import spoolfile

            lock = spoolfile.lock_pushers(self._settings.spool, log)
            if lock is not None:
                from observability.launch import launch

                launch(lock, program, options)
        except Exception:  # noqa: BLE001, S110  the boundary, as above; the event waits in the spool
            pass

    def _block(self, fields: "Mapping[bytes, Fact]") -> bytes:
        return event.build({**self._identity, **fields})

    def _is_sent(self, block: bytes) -> bool:
        """Send without waiting, on the session's connection or a new one; return whether all was sent."""
        while self._settings.sidecar and self._tries:
            try:
                return self._send(block)
            except OSError:
                self._hang_up()
        return False

    def _is_acknowledged(self, block: bytes, *, is_sent: bool) -> bool:
        """Wait for the one-byte answer, retrying once if the sidecar hung up; whether it came in time."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while is_sent or self._is_sent(block):
            if self._is_armed:
                signal.setitimer(signal.ITIMER_REAL, 0)  # poll ends by itself, late on a busy host
            if self._connection is not None and _is_answered(self._connection, deadline):
                return True
            if time.monotonic() >= deadline:
                break
            self._hang_up()
            is_sent = False
        return False

    def _send(self, block: bytes) -> bool:
        """Send all of it; return whether there was a descriptor for the connection.

        Raises OSError: also if the receiver takes only a part, because it has stopped reading.
        """
        if self._connection is None:
            if self._end:
                self._set_alarm(_slower())  # the socket's path may be on a file system that hangs
            self._connection = _connect(self._settings.sidecar, self._barred)
        if self._connection is None:
            return False
        if posix.write(self._connection, block) < len(block):
            raise BlockingIOError
        return True

    def _set_alarm(self, slower: float) -> None:
        """Have the kernel kill this process at the end, because a file system may hang forever."""
        if not self._is_armed:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # undo any change made by the caller
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
            self._is_armed = True
        signal.setitimer(signal.ITIMER_REAL, max(self._end - time.monotonic(), SPOOL_SECONDS) * slower)

    def _hang_up(self) -> None:
        """Close the connection, if there is one, and count the attempt."""
        self._tries -= 1
        if self._connection is not None:
            posix.close(self._connection)
            self._connection = None


def _known(settings: "Settings", session: "Session") -> "dict[bytes, Fact]":
    """Return what is known at the start of a session."""
    return {
        event.PID: session.pid,
        event.PROTOCOL: session.protocol_name,
        event.T_START: session.started,
        event.CLIENT_IP: settings.client_ip if settings.client_ip != _UNNAMED else None,
        event.CLIENT_HOST: settings.client_host if settings.client_host != _UNNAMED else None,
        event.CLIENT_PORT: settings.client_port,
        event.LOCAL_IP: settings.local_ip,
        event.LOCAL_PORT: settings.local_port,
    }


def _story(session: "Session") -> "dict[bytes, Fact]":
    """Return what is known at the end of a session; None or empty if not reached."""
    outcome = session.outcome
    return {
        event.T_GREETED: session.greeted or None,
        event.T_CREDENTIALS: session.credentials or None,
        event.T_SPAWNED: outcome.spawned or None if outcome else None,
        event.T_EXITED: outcome.exited or None if outcome else None,
        event.T_ENDED: session.finished,
        event.STATUS: outcome.status if outcome else None,
        event.SIGNAL: outcome.signal if outcome else None,
        event.RECORD: session.record.removesuffix(b"\n"),
        event.ENDED: session.ended.encode(),
        event.ERROR: session.failure.encode(),
        event.REASON: session.reason.encode(),
        event.TLS: session.tls_variables.get(b"SSL_PROTOCOL"),
        event.CIPHER: session.tls_variables.get(b"SSL_CIPHER"),
    }


def _slower() -> float:
    """Return how much slower than alone this process has been: a starved one gets so much more time."""
    try:
        fd = posix.open("/proc/self/schedstat", posix.O_RDONLY | posix.O_CLOEXEC)
        ran, waited, _slices = posix.read(fd, 100).split()  # nanoseconds
        posix.close(fd)
        return 1 + min(int(waited) / int(ran), MAX_SLOWER)
    except (OSError, ValueError, ZeroDivisionError):  # a kernel without it
        return 1


def _is_answered(connection: int, deadline: float) -> bool:
    """Wait for an answer until the deadline or until the sidecar hangs up; return whether it came."""
    answer = select.poll()
    answer.register(connection, select.POLLIN)
    try:
        ready = answer.poll(max(0.0, deadline - time.monotonic()) * 1000)
        return bool(ready) and posix.read(connection, 1) != b""
    except OSError:
        return False


def _connect(path: bytes, barred: "Collection[int]") -> int | None:
    """Return a non-blocking, close-on-exec connection, or None as in _placed; OSError if there is none."""
    import _socket as socket  # 0.25 ms, only with a sidecar; socket itself imports enum and selectors: 7

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
        return _placed(connection.detach(), barred) if barred else connection.detach()
    finally:
        connection.close()


def _placed(fd: int, barred: "Collection[int]") -> int | None:
    """Move a descriptor above 9 or, if a limit forbids that, to any number not barred; OSError closes it.

    Returns None, and closes it, if too few would be left for the session: finish() retries after the rest is
    closed.
    """
    try:
        if posix.sysconf("SC_OPEN_MAX") - fd <= _SPARE:  # all numbers below this one are taken
            return None
        try:
            return posix.dup2(fd, first_free(_ABOVE, barred), inheritable=False)
        except OSError:
            return posix.dup2(fd, first_free(0, barred), inheritable=False)
    finally:
        posix.close(fd)
