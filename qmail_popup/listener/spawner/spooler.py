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
_RETRY_SECONDS = 1.0  # until another is started
_PAUSE_SECONDS = 0.1  # if the kernel has no memory for an event

Pair = tuple[socket.socket, socket.socket]


class Spooler:
    """The spawner's end. It keeps a copy of the spooler's, so that a killed spooler loses no event."""

    def __init__(self, loop: Loop, pair: Pair, start: Callable[[socket.socket], int]) -> None:
        """pair: the spawner's end and the spooler's.

        start: starts a spooler that reads from its end, and returns its pidfd(2); again if it has ended
        """
        self._loop, self._start = loop, start
        self._peer, self._theirs = pair
        self._waiting: deque[bytes] = deque()
        self._retry: Deadlines[None] = Deadlines(_RETRY_SECONDS, lambda _: self._restart())
        self._pause: Deadlines[None] = Deadlines(_PAUSE_SECONDS, lambda _: self.ready(OUT))
        loop.timers += self._retry, self._pause
        self._run()

    def __len__(self) -> int:
        """Return the number of events and restarts to wait for."""
        return len(self._waiting) + len(self._retry)

    def put(self, block: bytes) -> None:
        """Queue an event, and send what there is room for; beyond the limit it is lost."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(block)
        self.ready(OUT)

    def ready(self, _events: int) -> None:
        """Send queued events while there is room."""
        try:
            while self._waiting:
                self._peer.send(self._waiting[0], socket.MSG_DONTWAIT)
                self._waiting.popleft()
        except BlockingIOError:
            pass
        except OSError:  # although there is room
            self._pause.set(None)
        can_wait = self._waiting and not self._pause
        self._loop.expect(self._peer.fileno(), self, OUT if can_wait else NOTHING)

    def ended(self, process: int) -> None:
        """Handle the end of the spooler: start another later, which reads what this one has not written."""
        self._loop.forget(process)
        os.close(process)
        self._retry.set(None)

    def _run(self) -> None:
        process = self._start(self._theirs)
        self._loop.watch(process, _Process(self, process))

    def _restart(self) -> None:
        try:
            self._run()
        except OSError:
            self._retry.set(None)


class _Process:
    """A spooler's pidfd(2), which is readable once it has ended."""

    def __init__(self, spooler: Spooler, process: int) -> None:
        self._spooler, self._process = spooler, process

    def ready(self, _events: int) -> None:
        self._spooler.ended(self._process)


def connect() -> Pair:
    """Return the spawner's end and the spooler's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def start(peer: socket.socket, settings: Settings, program: str) -> int:
    """Start a spooler; return its pidfd(2), or OSError. program: argv[0] of the listener."""
    _, process = processes.start(lambda: serve(peer, settings, program), {peer.fileno()}, lambda _error: None)
    return process


def serve(peer: socket.socket, settings: Settings, program: str) -> None:
    """Write events from `peer` to the spool until end of file.

    An event leaves the socket after it is written: the next spooler writes those of a killed one. While
    nothing can be written, not even that events are lost, they are counted here, and in the spool later.
    """
    privileges.name_process(b"popup-spooler")
    lost = 0
    while block := peer.recv(65536, socket.MSG_PEEK):
        try:
            spoolfile.leave(settings.spool, block)
        except OSError:
            lost += 1
        else:
            lost = _count(settings.spool, lost)
        if settings.pusher:
            with suppress(OSError):
                _ensure_pusher(settings, program)
        peer.recv(1)  # the rest of the message goes with it
    _count(settings.spool, lost)


def _count(spool: bytes, lost: int) -> int:
    """Count lost events in the spool; return how many are still to be counted."""
    with suppress(OSError):
        return lost - spoolfile.count_lost(spool, lost) if lost else 0
    return lost


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
