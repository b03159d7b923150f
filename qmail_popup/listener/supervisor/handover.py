"""From one generation of the first process to the next, which is the same process after an execve(2).

What goes over: the listening sockets, so that nobody is refused; a socket for each process that still serves,
so that they go on until the next generation does; and the clock that sessions are numbered by, so that no
number comes twice even if somebody sets the host's. It is told in one variable, which counts for this process
alone. SIGHUP, SIGTERM and SIGINT are held back meanwhile.
"""

import os
import signal
import socket
import sys
from collections.abc import MutableMapping, Sequence
from typing import NamedTuple

from qmail_popup.listener.process.sockets import Listening
from qmail_popup.settings import OWN_PREFIX
from qmail_popup.subprogram import as_inherited

_VARIABLE = OWN_PREFIX + b"HANDOVER"
_PAUSE_SECONDS = 1.0
_HELD = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


class Handover(NamedTuple):
    """What goes over.

    origin: what makes a time of day of CLOCK_MONOTONIC, in seconds
    """

    listening: Sequence[Listening]
    controls: Sequence[socket.socket]
    origin: float


def take(environ: MutableMapping[bytes, bytes]) -> Handover | None:
    """Take what the generation before has left, if there was one."""
    pid, *told = environ.pop(_VARIABLE, b"").decode().split(" ")
    if pid != str(os.getpid()):
        return None
    origin, listening, controls = told
    return Handover(
        [Listening(kind, _taken(fd)) for kind, _, fd in (word.partition("=") for word in _words(listening))],
        [_taken(fd) for fd in _words(controls)],
        float.fromhex(origin),
    )


def execute(handover: Handover, *, ignore_hangup: bool) -> OSError:
    """Become the program as it is now. Returns only where that cannot be: all is as it was then."""
    given = [one.socket for one in handover.listening] + [*handover.controls]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    handler = signal.getsignal(signal.SIGHUP)
    if ignore_hangup:  # as subprograms are to find it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for sock in given:
        sock.set_inheritable(True)
    try:
        os.execve(sys.executable, command(), {**environment(), _VARIABLE: _told(handover)})  # noqa: S606
    except OSError as error:
        for sock in given:
            sock.set_inheritable(False)
        signal.signal(signal.SIGHUP, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return error


def try_again(handover: Handover) -> None:
    """Execute again in a second, or at a SIGHUP; returns at SIGTERM or SIGINT, which end this process.

    For who finds now that something makes no sense, which a moment ago was good: the generation before still
    serves, and would end with this process.
    """
    received = signal.sigtimedwait(_HELD, _PAUSE_SECONDS)
    if received is None or received.si_signo == signal.SIGHUP:
        execute(handover, ignore_hangup=False)


def release_signals() -> None:
    """Let come what was held back, and the end of a child; call it once there are handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_HELD, signal.SIGCHLD))


def command(*options: str) -> list[str]:
    """Return the command line that started this process, with `options` before its own."""
    own = len(sys.orig_argv) - len(sys.argv) + 1
    return [sys.executable, *sys.orig_argv[1:own], *options, *sys.orig_argv[own:]]


def environment() -> dict[bytes, bytes]:
    """Return the environment that this process was started with."""
    return as_inherited(dict(os.environb))


def _told(handover: Handover) -> bytes:
    listening = ",".join(f"{kind}={sock.fileno()}" for kind, sock in handover.listening)
    controls = ",".join(str(sock.fileno()) for sock in handover.controls)
    return f"{os.getpid()} {handover.origin.hex()} {listening} {controls}".encode()


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _taken(fd: str) -> socket.socket:
    sock = socket.socket(fileno=int(fd))
    sock.set_inheritable(False)
    return sock
