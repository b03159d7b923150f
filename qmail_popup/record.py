"""The record: the one line on descriptor 5 that says who was accepted or rejected.

Owns its format, so that nothing chosen by a client or its name server can break the line or forge another
field, and the way it is written to a descriptor shared with other programs. A record can be parsed from the
left without ambiguity: `S:` ends at the first ` ?~ '`, the host follows the last colon before that, and the
name is the rest without the closing quote.
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
TIMEOUT_SECONDS = 30  # for a log that accepts nothing
_TICK_SECONDS = 0.1

_CONTROLS = bytes(range(32)) + b"\x7f"
_UNPRINTABLE = bytes(range(33)) + bytes(range(127, 256))
_NAME = bytes.maketrans(_CONTROLS, b"?" * len(_CONTROLS))
_IP = bytes.maketrans(_UNPRINTABLE, b"?" * len(_UNPRINTABLE))
_HOST = bytes.maketrans(_UNPRINTABLE + b":", b"?" * (len(_UNPRINTABLE) + 1))


class GaveUpError(Exception):
    """The log accepted nothing for too long."""


def compose(  # noqa: PLR0913  the fields of the line
    *, pid: int, verdict: bytes, protocol: bytes, ip: bytes, host: bytes, name: bytes
) -> bytes:
    """Return the record with its newline, at most PIPE_BUF bytes so that writes are atomic (pipe(7)).

    verdict: e.g. b"Accept::AUTH::User"; protocol: b"POP3" or b"POP3S"; the rest as received
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
    """Write `line` to `fd` in one write, or give up: a failing log must not fail a login.

    If the descriptor is full, it waits at most `timeout` seconds, and first calls `hang_up`, so that no
    client waits for a log. The descriptor is shared: it may block, its flags are not ours to change, and
    poll(2) does not guarantee that a write will not block. So a timer interrupts the write. Python then
    runs the handler, and resumes the write unless the handler raised.
    """
    deadline = time.monotonic() + timeout

    def tick(_signal: int, _frame: object) -> None:
        hang_up()
        if time.monotonic() >= deadline:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # raise once, even in the finally clause
            raise GaveUpError

    try:
        signal.signal(signal.SIGALRM, tick)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
        signal.setitimer(signal.ITIMER_REAL, _TICK_SECONDS, _TICK_SECONDS)
        try:
            while not _written(fd, line):
                _await_room(fd)
        finally:  # the last tick may raise here too
            signal.setitimer(signal.ITIMER_REAL, 0)
    except (OSError, GaveUpError):
        pass


def _written(fd: int, line: bytes) -> bool:
    """Write `line`; False if the descriptor is non-blocking and full."""
    try:
        posix.write(fd, line)
    except BlockingIOError:
        return False
    return True


def _await_room(fd: int) -> None:
    """Wait until the descriptor may accept a line; the timer ends the wait."""
    room = select.poll()
    room.register(fd, select.POLLOUT)
    room.poll()
