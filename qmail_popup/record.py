"""The record: the one line of descriptor 5 about who was let in or refused.

Owns its grammar, so that what a client or its name server chose can neither break the line nor fake
another field, and the way it gets onto a descriptor that other programs share. From the left, a
record reads back without doubt: `S:` ends at the first ` ?~ '`, the host stands behind the last colon
before that, and the name is all the rest but the closing quote.
"""

import posix
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal  # signal itself imports enum: 4.6 ms

MAX_FIELD = 255  # bytes of a name, host or address: with three of them a line stays below PIPE_BUF
TIMEOUT_SECONDS = 30  # for a log that takes nothing
_TICK_SECONDS = 0.1

_CONTROLS = bytes(range(32)) + b"\x7f"
_UNPRINTABLE = bytes(range(33)) + bytes(range(127, 256))
_NAME = bytes.maketrans(_CONTROLS, b"?" * len(_CONTROLS))
_IP = bytes.maketrans(_UNPRINTABLE, b"?" * len(_UNPRINTABLE))
_HOST = bytes.maketrans(_UNPRINTABLE + b":", b"?" * (len(_UNPRINTABLE) + 1))


class GaveUpError(Exception):
    """The log took nothing for too long."""


def compose(  # noqa: PLR0913  the fields of the line
    *, pid: int, verdict: bytes, protocol: bytes, ip: bytes, host: bytes, name: bytes
) -> bytes:
    """Return the record, newline included, at most PIPE_BUF bytes so that lines never mix (pipe(7)).

    verdict: e.g. b"Accept::AUTH::User"; protocol: b"POP3" or b"POP3S"; the rest as it came.
    """
    shown = name[:MAX_FIELD].translate(_NAME) + (b"..." if len(name) > MAX_FIELD else b"")
    return b"qmail-popup: pid %d %s P:%s S:%s:%s ?~ '%s'\n" % (
        pid,
        verdict,
        protocol,
        ip[:MAX_FIELD].translate(_IP),
        host[:MAX_FIELD].translate(_HOST),
        shown,
    )


def append(fd: int, line: bytes, timeout: float, hang_up: "Callable[[], None]") -> None:
    """Write `line` to `fd` in one write, or give it up: a log that fails fails no login.

    Where there is no room it waits, `timeout` seconds at most, and calls `hang_up` first, so that
    no client waits for a log. The descriptor is shared and may block, its flags are not ours to
    change, and poll(2) is no promise that a write will not block. So a timer interrupts the write:
    Python then runs the handler and goes on with the write unless the handler raised.
    """
    deadline = time.monotonic() + timeout

    def tick(_signal: int, _frame: object) -> None:
        hang_up()
        if time.monotonic() >= deadline:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # raise once, wherever that finds us
            raise GaveUpError

    try:
        signal.signal(signal.SIGALRM, tick)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
        signal.setitimer(signal.ITIMER_REAL, _TICK_SECONDS, _TICK_SECONDS)
        try:
            while not _written(fd, line):
                _await_room(fd)
        finally:  # the last tick may raise here as well
            signal.setitimer(signal.ITIMER_REAL, 0)
    except (OSError, GaveUpError):
        pass


def _written(fd: int, line: bytes) -> bool:
    """Write `line`; False where the descriptor does not block and has no room."""
    try:
        posix.write(fd, line)
    except BlockingIOError:
        return False
    return True


def _await_room(fd: int) -> None:
    """Wait until the descriptor may take a line; the timer ends the wait."""
    room = select.poll()
    room.register(fd, select.POLLOUT)
    room.poll()
