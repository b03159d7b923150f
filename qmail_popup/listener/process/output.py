"""Writes lines to descriptors 5 and 2 without ever blocking on a reader; lines queue until there is room.

Other programs share both descriptors, so O_NONBLOCK must not be set on them. A pipe or terminal is reopened,
which gives a separate, non-blocking file description; a socket takes a flag with each message; a file does
not block. If a pipe cannot be reopened (another user created it), a timer interrupts the write.
"""

import contextlib
import os
import select
import signal
import socket
import stat
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from qmail_popup.listener.process.loop import OUT, Loop

MAX_WAITING = 10_000  # lines; beyond that the oldest is dropped
_TICK_SECONDS = 0.05
_DESCRIPTORS = "/proc/self/fd"  # proc(5)

_Token = TypeVar("_Token")
Write = Callable[[bytes], int]
Close = Callable[[], None]


class Output(Generic[_Token]):
    """One descriptor's lines, in order, each written whole or dropped.

    close: closes the descriptor that was opened for writing, if any
    """

    def __init__(
        self, loop: Loop, fd: int, done: Callable[[_Token], None], complain: Callable[[str], None]
    ) -> None:
        """Write to `fd`. done: called with a line's token once it is written or dropped."""
        self._loop, self._fd, self._done, self._complain = loop, fd, done, complain
        self._watched, self._write, self.close = _writer(fd)
        self._waiting: deque[tuple[bytes, _Token]] = deque()
        self._given_up = 0
        self._is_begun = False  # whether part of the oldest line is written: a socket may take no more

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, line: bytes, token: _Token) -> None:
        """Write a line, or queue it behind the others."""
        if self._waiting:
            self._waiting.append((line, token))
        elif left := self._unwritten(line):
            self._loop.watch(self._watched, self, OUT)
            self._waiting.append((left, token))
        else:
            self._done(token)
        if len(self._waiting) > MAX_WAITING:
            self._give_up()

    def ready(self, _events: int) -> None:
        """Write the lines there is now room for."""
        while self._waiting:
            line, token = self._waiting[0]
            if left := self._unwritten(line):
                self._waiting[0] = (left, token)
                return
            self._waiting.popleft()
            self._done(token)
        self._loop.forget(self._watched)
        if self._given_up:
            self._complain(f"descriptor {self._fd} accepts lines again; {self._given_up} were lost")
        self._given_up = 0

    def give_up_all(self) -> None:
        """Drop all queued lines."""
        while self._waiting:
            self._give_up()

    def _give_up(self) -> None:
        """Drop the oldest line of which nothing is written; its token counts as done."""
        if not self._given_up:
            self._complain(f"descriptor {self._fd} is blocked: dropping the oldest lines")
        self._given_up += 1
        number = 1 if self._is_begun and len(self._waiting) > 1 else 0
        _, token = self._waiting[number]
        del self._waiting[number]
        self._done(token)

    def _unwritten(self, line: bytes) -> bytes:
        """Write a line; return what must wait, nothing if it can never be written.

        A failing log must not fail a login.
        """
        size = len(line)
        try:
            while line:
                line = line[self._write(line) :]
        except BlockingIOError:
            self._is_begun = self._is_begun or len(line) < size
            return line
        except OSError:
            pass
        self._is_begun = False
        return b""


def _writer(fd: int) -> tuple[int, Write, Close]:
    """Return the descriptor to watch for room, a non-blocking write, and a close function."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        peer = socket.socket(fileno=os.dup(fd))
        return peer.fileno(), lambda line: peer.send(line, socket.MSG_DONTWAIT), peer.close
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return fd, partial(os.write, fd), lambda: None
    with contextlib.suppress(OSError):
        own = os.open(f"{_DESCRIPTORS}/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_CLOEXEC)
        return own, partial(os.write, own), partial(os.close, own)
    return fd, lambda line: write_if_room(fd, line), lambda: None


def write_if_room(fd: int, line: bytes) -> int:
    """Write if poll(2) reports room; a timer interrupts the write if there is too little. OSError."""
    room = select.poll()
    room.register(fd, select.POLLOUT)
    if not room.poll(0):
        raise BlockingIOError
    before = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, _TICK_SECONDS, _TICK_SECONDS)
    try:
        return os.write(fd, line)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _interrupt(_signal: int, _frame: object) -> None:
    raise BlockingIOError
