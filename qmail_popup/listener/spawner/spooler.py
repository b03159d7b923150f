"""The spooler: a process of the spawner's that writes to the spool what no sidecar has acknowledged.

A file system may hang, a lock may be held and the umask has to be 0: none of that may happen to the spawner.
It takes one event a message, and ends when nobody can send it any more and it has written all. It starts the
pusher, too, where there is to be one.
"""

import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from observability import launch, spoolfile
from qmail_popup.listener.process import privileges, processes
from qmail_popup.listener.process.loop import OUT, Loop
from qmail_popup.settings import Settings

MAX_WAITING = 10_000  # events, for a file system that hangs


class Spooler:
    """The spawner's end."""

    def __init__(self, loop: Loop, start: Callable[[], socket.socket]) -> None:
        """Send to the process that `start` starts, and that it starts again where it has ended."""
        self._loop, self._start = loop, start
        self._peer = start()
        self._waiting: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, block: bytes) -> None:
        """Hand an event over, or have it wait for the file system; one too many is lost."""
        if not self._waiting:
            if self._is_sent(block):
                return
            self._loop.watch(self._peer.fileno(), self, OUT)
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(block)

    def ready(self, _events: int) -> None:
        """Hand over what waits."""
        while self._waiting and self._is_sent(self._waiting[0]):
            self._waiting.popleft()
        if not self._waiting:
            self._loop.forget(self._peer.fileno())

    def _is_sent(self, block: bytes) -> bool:
        """Whether it is sent; where nobody takes it any more, it is sent to a new process."""
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
    """Start a spooler; what to send to it on. program: argv[0] of the listener."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        processes.fork(lambda: serve(theirs, settings, program), {theirs.fileno()}, lambda _error: None)
    return ours


def serve(peer: socket.socket, settings: Settings, program: str) -> None:
    """Write what comes from `peer`, to its end; what cannot be written is counted where that can be."""
    privileges.name_process(b"popup-spooler")
    while block := peer.recv(65536):
        with suppress(OSError):
            spoolfile.leave(settings.spool, block)
            if settings.pusher:
                _ensure_pusher(settings, program)


def _ensure_pusher(settings: Settings, program: str) -> None:
    """Start a pusher unless one runs, from a child: starting one closes all descriptors."""
    lock = spoolfile.lock_pushers(settings.spool)
    if lock is None:
        return
    if not (pid := os.fork()):
        try:
            launch.launch(lock, program, settings.pusher)
        finally:
            os._exit(0)
    os.close(lock)
    os.waitpid(pid, 0)
