"""Sends a worker's frames to the spawner; queues them while there is no room or no spawner.

A client's descriptor is sent with its login, and then closed here. The number of connections limits the
queue, because each has only a frame or two.
"""

import socket
from collections import deque

from qmail_popup.listener.ipc import rights
from qmail_popup.listener.ipc.frames import BEGIN, Frame, head
from qmail_popup.listener.process.loop import IN, OUT, Deadlines, Loop
from qmail_popup.wire import wipe

_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_PAUSE_SECONDS = 0.1  # when the kernel accepts no descriptor, of which only so many may be on their way


class Outbox:
    """The queue to the current spawner."""

    def __init__(self, loop: Loop) -> None:
        """Start without a spawner."""
        self._loop = loop
        self._channel: socket.socket | None = None
        self._waiting: deque[tuple[Frame, socket.SocketType | None]] = deque()
        self._pause: Deadlines[Outbox] = Deadlines(_PAUSE_SECONDS, lambda _: self._watch_on())
        loop.timers.append(self._pause)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_connected(self) -> bool:
        """Whether a spawner is connected."""
        return self._channel is not None

    def connect(self, channel: socket.socket) -> None:
        """Send to this spawner from now on."""
        self.disconnect()
        self._channel = channel
        self._loop.watch(channel.fileno(), self, IN | OUT if self._waiting else IN)

    def disconnect(self) -> None:
        """Close the channel, because the spawner has ended, and drop queued BEGIN frames."""
        if self._channel:
            self._loop.closing(self._channel.fileno())
            self._channel.close()
        self._channel = None
        self._pause.drop(self)
        self._waiting = deque(entry for entry in self._waiting if entry[0].kind != BEGIN)

    def put(self, frame: Frame, peer: socket.SocketType | None = None) -> None:
        """Send a frame, with its client's socket if any, or queue it.

        BEGIN is not queued without a spawner: a new one is told about all open connections anyway.
        """
        if not self._waiting and self._is_sent(frame, peer):
            return
        if not self._channel and frame.kind == BEGIN:
            return
        self._waiting.append((frame, peer))
        if len(self._waiting) == 1:
            self._watch_on()

    def ready(self, events: int) -> None:
        """Send queued frames. The spawner sends nothing, so readable means end of file."""
        if events & ~OUT:
            self.disconnect()
            return
        while self._waiting and self._is_sent(*self._waiting[0]):
            self._waiting.popleft()
        if self._pause or not self._waiting:
            self._watch_on()

    def clear(self) -> None:
        """Drop the queue, because there will be no other spawner."""
        for frame, peer in self._waiting:
            _let_go(frame, peer)
        self._waiting.clear()

    def _watch_on(self) -> None:
        """Wait for room if something is queued."""
        if self._channel:
            wanted = IN | OUT if self._waiting and not self._pause else IN
            self._loop.change(self._channel.fileno(), wanted)

    def _is_sent(self, frame: Frame, peer: socket.SocketType | None) -> bool:
        if not self._channel:
            return False
        ancillary = rights.sent([peer.fileno()]) if peer else []
        try:
            self._channel.sendmsg([head(frame), frame.name, frame.secret], ancillary, _FLAGS)
        except BlockingIOError:
            return False
        except ConnectionError:
            self.disconnect()
            return False
        except OSError:  # too many descriptors are on their way (unix(7), ETOOMANYREFS), or no memory is left
            self._pause.set(self)
            return False
        _let_go(frame, peer)
        return True


def _let_go(frame: Frame, peer: socket.SocketType | None) -> None:
    wipe(frame.secret)
    if peer:
        peer.close()
