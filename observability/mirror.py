"""The mirror: in the popup, from a session to its event, and with that to the sidecar or to the spool.

Imported only where the operator has set it up. It owns what is told of a session, one identity, one
connection and a deadline. Nothing that it does may delay, change or fail a login. So its public methods
swallow every fault there is, and say so. Nothing is waited for until the client and all others are let go,
and from there on an alarm ends a popup whose file system hangs: open(2) may then wait forever, and write(2).

Descriptors that it keeps beside the session's mean nothing to anybody: none from 0 to 5, and none that the
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

ANSWER_SECONDS = 0.25  # for all tries to reach a sidecar together
SPOOL_SECONDS = 0.05  # behind them, for the spool
MAX_SECONDS = ANSWER_SECONDS + SPOOL_SECONDS  # from the last reply and the record to the end
_LOW = range(6)  # the network, stderr, descriptor 3 of a subprogram, the log
_ABOVE = 10
_SPARE = 5  # descriptors that a session may still need: three to start TLS, a pipe for the subprogram
_UNNAMED = b"unknown"  # what settings has where the server names nobody


class _NoRoomError(Exception):
    """The session may need the descriptors that there are."""


class Mirror:
    """One session's way out.

    traceparent: W3C Trace Context of the subprogram's span, for its environment
    """

    def __init__(self, settings: "Settings") -> None:
        """Make up an identity."""
        self._settings = settings
        self._barred = {*_LOW, *settings.tls_descriptors}
        self._connection: int | None = None
        self._tries = 2  # the session's connection, and one more
        trace, span = posix.urandom(16).hex().encode(), posix.urandom(8).hex().encode()
        self._identity: dict[bytes, Fact] = {event.TRACE: trace, event.SPAN: span}
        self.traceparent = b"00-%s-%s-01" % (trace, span)

    def hello(self, session: "Session") -> None:
        """Tell the sidecar that the session has begun. Swallows every fault: there is a second try."""
        try:
            if self._settings.sidecar:
                self._send(self._block(_known(self._settings, session)))
        except OSError:
            self._hang_up()
        except Exception:  # noqa: BLE001, S110  the boundary: a login is worth more than its event
            pass

    def finish(self, session: "Session", hang_up: "Callable[[], None]") -> None:
        """Deliver the event. Swallows every fault; its waits are bounded, and it comes last of all.

        What can be sent without waiting is sent first; then `hang_up` lets all go who wait for the session.
        """
        block, is_sent = b"", False
        end = time.monotonic() + MAX_SECONDS
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever was done to it before
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
            _set_alarm(MAX_SECONDS)
            block = self._block({**_known(self._settings, session), **_story(session)})
            is_sent = self._is_sent(block)
        except Exception:  # noqa: BLE001, S110  the boundary, as above
            pass
        hang_up()
        self._barred.clear()
        try:
            if block and not self._is_acknowledged(block, is_sent=is_sent):
                _set_alarm(max(end - time.monotonic(), SPOOL_SECONDS))
                from observability import spoolfile  # a sidecar that answers saves this import

                spoolfile.leave(self._settings.spool, block)
        except Exception:  # noqa: BLE001, S110  the boundary, as above; leave has counted what it could
            pass

    def ensure_pusher(self, program: str, options: "Mapping[bytes, bytes]", log: int | None = None) -> None:
        """Start a pusher, unless one runs: who gets the lock starts one, and hands the lock over.

        program: argv[0] of this process; options: the pusher's; log: gets what the last one failed at.
        After `finish`: a pusher that is about to end looks at the spool when it has let go of the lock.
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
        """Send without waiting, on the session's connection or on one more; whether all of it went."""
        while self._settings.sidecar and self._tries:
            try:
                self._send(block)
            except _NoRoomError:
                return False
            except OSError:
                self._hang_up()
            else:
                return True
        return False

    def _is_acknowledged(self, block: bytes, *, is_sent: bool) -> bool:
        """Wait for the one byte, and try once more where the sidecar hung up; whether it came in time."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while is_sent or self._is_sent(block):
            signal.setitimer(signal.ITIMER_REAL, 0)  # poll ends by itself, late on a busy host
            if self._connection is not None and _is_answered(self._connection, deadline):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                break
            _set_alarm(left + SPOOL_SECONDS)  # the next try looks a path up
            self._hang_up()
            is_sent = False
        return False

    def _send(self, block: bytes) -> None:
        """Send all of it or raise OSError: a receiver that takes only a part has stopped reading."""
        if self._connection is None:
            self._connection = _connect(self._settings.sidecar, self._barred)
        if posix.write(self._connection, block) < len(block):
            raise BlockingIOError

    def _hang_up(self) -> None:
        """Give up what there is, or could not be had: that was one try."""
        self._tries -= 1
        if self._connection is not None:
            posix.close(self._connection)
            self._connection = None


def _known(settings: "Settings", session: "Session") -> "dict[bytes, Fact]":
    """Return what is known of a session from its start."""
    return {
        event.PID: session.pid,
        event.PROTOCOL: session.protocol_name,
        event.T_START: session.started,
        event.CLIENT_IP: _named(settings.client_ip),
        event.CLIENT_HOST: _named(settings.client_host),
        event.CLIENT_PORT: settings.client_port,
        event.LOCAL_IP: settings.local_ip,
        event.LOCAL_PORT: settings.local_port,
    }


def _named(value: bytes) -> bytes | None:
    return None if value == _UNNAMED else value


def _story(session: "Session") -> "dict[bytes, Fact]":
    """Return how a session went; what was not reached is None or empty."""
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


def _set_alarm(seconds: float) -> None:
    """Have the kernel end this process then: a file system may hang forever.

    The time in which it was ready to run and did not comes on top, or a busy host would lose the event.
    """
    waited = 0
    try:
        fd = posix.open("/proc/self/schedstat", posix.O_RDONLY | posix.O_CLOEXEC)
        waited = int(posix.read(fd, 100).split()[1])  # nanoseconds on a processor, in wait for one, times
        posix.close(fd)
    except (OSError, ValueError, IndexError):  # a kernel that does not say
        pass
    signal.setitimer(signal.ITIMER_REAL, seconds + waited / 1e9)


def _is_answered(connection: int, deadline: float) -> bool:
    """Wait for an answer until it comes or the sidecar hangs up; whether it came."""
    answer = select.poll()
    answer.register(connection, select.POLLIN)
    try:
        ready = answer.poll(max(0.0, deadline - time.monotonic()) * 1000)
        return bool(ready) and posix.read(connection, 1) != b""
    except OSError:
        return False


def _connect(path: bytes, barred: "Collection[int]") -> int:
    """Return a connection that does not block and is not inherited; OSError where there is none."""
    import _socket as socket  # 0.25 ms, for those with a sidecar; socket itself imports enum and selectors: 7

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
        return _placed(connection.detach(), barred) if barred else connection.detach()
    finally:
        connection.close()


def _placed(fd: int, barred: "Collection[int]") -> int:
    """Move it above 9 or, where a limit forbids that, to any number not barred; OSError closes it.

    So does _NoRoomError, where the session would have too few left: there is room when all else is closed.
    """
    try:
        if posix.sysconf("SC_OPEN_MAX") - fd <= _SPARE:  # all numbers below this one are taken
            raise _NoRoomError
        try:
            return posix.dup2(fd, first_free(_ABOVE, barred), inheritable=False)
        except OSError:
            return posix.dup2(fd, first_free(0, barred), inheritable=False)
    finally:
        posix.close(fd)
