"""The spooler: a child of the spawner that writes events to the spool if no sidecar acknowledged them.

It is a separate process because a file system may hang, a lock may be held and the umask must be 0. It
reads one event per message, and exits at end of file, after writing everything. It also starts the pusher,
if one is configured.
"""

import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from observability import launch, spoolfile
from qmail_popup.listener.process import privileges, processes
from qmail_popup.listener.process.loop import NOTHING, OUT, Deadlines, Loop
from qmail_popup.settings import Settings

MAX_WAITING = 10_000  # events, if the file system hangs
_RETRY_SECONDS = 1.0  # until another start, if a process or descriptor cannot be had


class Spooler:
    """The spawner's end."""

    def __init__(self, loop: Loop, start: Callable[[], socket.socket]) -> None:
        """start: starts a spooler and returns its socket; called again if that has ended."""
        self._loop, self._start = loop, start
        self._peer = start()
        self._waiting: deque[bytes] = deque()
        self._retry: Deadlines[None] = Deadlines(_RETRY_SECONDS, lambda _: self.ready(OUT))
        loop.timers.append(self._retry)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, block: bytes) -> None:
        """Queue an event, and send what there is room for; beyond the limit it is lost."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(block)
        self.ready(OUT)

    def ready(self, _events: int) -> None:
        """Send queued events. If the spooler has ended and none can be started, try again later."""
        try:
            while self._waiting and self._is_sent(self._waiting[0]):
                self._waiting.popleft()
        except OSError:
            self._retry.set(None)
        else:
            self._loop.expect(self._peer.fileno(), self, OUT if self._waiting else NOTHING)

    def _is_sent(self, block: bytes) -> bool:
        """Send without blocking; if the spooler has ended, start another and send to that. OSError."""
        try:
            self._peer.send(block, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            self._loop.forget(self._peer.fileno())
            self._peer.close()
            self._peer = self._start()
            self._peer.send(block, socket.MSG_DONTWAIT)
        return True


def start(settings: Settings, program: str) -> socket.socket:
    """Start a spooler; return the socket to it. program: argv[0] of the listener."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        processes.fork(lambda: serve(theirs, settings, program), {theirs.fileno()}, lambda _error: None)
    return ours


def serve(peer: socket.socket, settings: Settings, program: str) -> None:
    """Write events from `peer` to the spool until end of file; losses are counted if possible."""
    privileges.name_process(b"popup-spooler")
    while block := peer.recv(65536):
        with suppress(OSError):
            spoolfile.leave(settings.spool, block)
            if settings.pusher:
                _ensure_pusher(settings, program)


def _ensure_pusher(settings: Settings, program: str) -> None:
    """Start a pusher unless one runs; from a child, because launch() closes all descriptors."""
    lock = spoolfile.lock_pushers(settings.spool)
    if lock is None:
        return
    try:
        if not (pid := os.fork()):
            try:
                launch.launch(lock, program, settings.pusher)
            finally:
                os._exit(0)
    finally:
        os.close(lock)
    os.waitpid(pid, 0)
