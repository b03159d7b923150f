"""Hands over from one generation of the supervisor to the next: the same process after execve(2).

Passed on are the listening sockets, so that no connection is refused; the control socket of each child, so
that the children serve until the next generation does; and the origin of the clock that numbers sessions, so
that numbers stay unique even if the host's clock is set. One environment variable describes them, valid only
for this pid. SIGHUP, SIGTERM and SIGINT are blocked meanwhile.
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
    """What is passed on.

    origin: seconds to add to CLOCK_MONOTONIC for the time of day
    """

    listening: Sequence[Listening]
    controls: Sequence[socket.socket]
    origin: float


def take(environ: MutableMapping[bytes, bytes]) -> Handover | None:
    """Return what the previous generation passed on, if there was one."""
    pid, *fields = environ.pop(_VARIABLE, b"").decode().split(" ")
    if pid != str(os.getpid()):
        return None
    origin, listening, controls = fields
    return Handover(
        [Listening(kind, _taken(fd)) for kind, _, fd in (word.partition("=") for word in _words(listening))],
        [_taken(fd) for fd in _words(controls)],
        float.fromhex(origin),
    )


def execute(handover: Handover, *, ignore_hangup: bool) -> OSError:
    """Execute the program as now installed. Returns only on failure, with everything as before."""
    given = [one.socket for one in handover.listening] + [*handover.controls]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    handler = signal.getsignal(signal.SIGHUP)
    if ignore_hangup:  # subprograms inherit it as the listener did
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for sock in given:
        sock.set_inheritable(True)
    try:
        os.execve(sys.executable, command(), {**environment(), _VARIABLE: _encode(handover)})  # noqa: S606
    except OSError as error:
        for sock in given:
            sock.set_inheritable(False)
        signal.signal(signal.SIGHUP, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return error


def try_again(handover: Handover) -> None:
    """Execute again after a second or on SIGHUP; returns on SIGTERM or SIGINT, which end this process.

    Used if the configuration passed the trial but is invalid by now: exiting would also end the previous
    generation, which still serves.
    """
    received = signal.sigtimedwait(_HELD, _PAUSE_SECONDS)
    if received is None or received.si_signo == signal.SIGHUP:
        execute(handover, ignore_hangup=False)


def release_signals() -> None:
    """Unblock the held signals and SIGCHLD; call it after installing handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_HELD, signal.SIGCHLD))


def command(*options: str) -> list[str]:
    """Return the command line of this process, with `options` before its own."""
    own = len(sys.orig_argv) - len(sys.argv) + 1
    return [sys.executable, *sys.orig_argv[1:own], *options, *sys.orig_argv[own:]]


def environment() -> dict[bytes, bytes]:
    """Return the environment of this process as inherited."""
    return as_inherited(dict(os.environb))


def _encode(handover: Handover) -> bytes:
    listening = ",".join(f"{kind}={sock.fileno()}" for kind, sock in handover.listening)
    controls = ",".join(str(sock.fileno()) for sock in handover.controls)
    return f"{os.getpid()} {handover.origin.hex()} {listening} {controls}".encode()


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _taken(fd: str) -> socket.socket:
    sock = socket.socket(fileno=int(fd))
    sock.set_inheritable(False)
    return sock
