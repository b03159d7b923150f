"""A worker's frames on their way to the spawner: sent at once, or kept while there is no room or no spawner.

A client's descriptor travels with its login, and is closed here once it has. What waits is bounded by the
number of connections, because each has a frame or two.
"""

import socket
from collections import deque

from qmail_popup.listener.ipc import rights
from qmail_popup.listener.ipc.frames import BEGIN, Frame, head
from qmail_popup.listener.process.loop import IN, OUT, Loop
from qmail_popup.wire import wipe

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Outbox:
    """The way to the spawner, whichever one there is."""

    def __init__(self, loop: Loop) -> None:
        """Begin with none."""
        self._loop = loop
        self._channel: socket.socket | None = None
        self._waiting: deque[tuple[Frame, socket.socket | None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_connected(self) -> bool:
        """Whether there is a spawner."""
        return self._channel is not None

    def connect(self, channel: socket.socket) -> None:
        """Send to this spawner from now on."""
        self.disconnect()
        self._channel = channel
        self._loop.watch(channel.fileno(), self, IN | OUT if self._waiting else IN)

    def disconnect(self) -> None:
        """Send to nobody: the spawner has ended."""
        if self._channel:
            self._loop.closing(self._channel.fileno())
            self._channel.close()
        self._channel = None
        self._waiting = deque(entry for entry in self._waiting if entry[0].kind != BEGIN)

    def put(self, frame: Frame, peer: socket.socket | None = None) -> None:
        """Send a frame, with its client where there is one, or have it wait.

        Who has begun is told to each spawner when it comes, so that never waits for one.
        """
        if not self._waiting and self._is_sent(frame, peer):
            return
        if not self._channel and frame.kind == BEGIN:
            return
        self._waiting.append((frame, peer))
        if self._channel and len(self._waiting) == 1:
            self._loop.change(self._channel.fileno(), IN | OUT)

    def ready(self, events: int) -> None:
        """Send what waits; a spawner says nothing, so what can be read is its end."""
        if events & ~OUT:
            self.disconnect()
            return
        while self._waiting and self._is_sent(*self._waiting[0]):
            self._waiting.popleft()
        if self._channel and not self._waiting:
            self._loop.change(self._channel.fileno(), IN)

    def clear(self) -> None:
        """Give up what waits: no spawner will ever come."""
        for frame, peer in self._waiting:
            _let_go(frame, peer)
        self._waiting.clear()

    def _is_sent(self, frame: Frame, peer: socket.socket | None) -> bool:
        if not self._channel:
            return False
        ancillary = rights.sent([peer.fileno()]) if peer else []
        try:
            self._channel.sendmsg([head(frame), frame.name, frame.secret], ancillary, _FLAGS)
        except BlockingIOError:
            return False
        except OSError:
            self.disconnect()
            return False
        _let_go(frame, peer)
        return True


def _let_go(frame: Frame, peer: socket.socket | None) -> None:
    wipe(frame.secret)
    if peer:
        peer.close()
