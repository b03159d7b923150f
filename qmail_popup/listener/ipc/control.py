"""The socket between the supervisor and each child, over which the child receives channels while it runs.

When it closes, the supervisor has exited or is stopping this child, which then takes no new connections. The
child reports on it that it is ready and, if it crashes, why.
"""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from qmail_popup.listener.ipc import rights
from qmail_popup.listener.process.loop import Deadlines, Loop

SERVES = b"serves"
MAX_WORDS = 200  # bytes
_MAX_DESCRIPTORS = 2
_PAUSE_SECONDS = 0.1  # when out of descriptors
_PEEK = int(rights.FLAGS | socket.MSG_PEEK)


class Control:
    """A child's end."""

    def __init__(
        self,
        loop: Loop,
        peer: socket.socket,
        received: Callable[[int, list[int]], None],
        ended: Callable[[], None],
    ) -> None:
        """Watch `peer`. received: called with a slot and descriptors; ended: called at end of file."""
        self._loop, self.peer, self._received, self._ended = loop, peer, received, ended
        self._reserve: list[int] = []
        self._pause: Deadlines[Control] = Deadlines(_PAUSE_SECONDS, lambda _: self._watch())
        loop.timers.append(self._pause)
        self._watch()
        self._fill()

    def ready(self, _events: int) -> None:
        """Receive one message, using the reserve in case clients have taken all other descriptors."""
        while self._reserve:
            os.close(self._reserve.pop())
        if not self._is_taken():
            self._loop.forget(self.peer.fileno())
            self._pause.set(self)
        self._fill()

    def _watch(self) -> None:
        self._loop.watch(self.peer.fileno(), self)

    def _fill(self) -> None:
        """Reserve as many descriptors as a message may carry, if available."""
        with suppress(OSError):
            while len(self._reserve) < _MAX_DESCRIPTORS:
                self._reserve.append(os.eventfd(0))

    def _is_taken(self) -> bool:
        """Receive one message; False, and it stays, if there is no room for its descriptors."""
        try:
            slot, ancillary, flags, _ = self.peer.recvmsg(1, rights.room(_MAX_DESCRIPTORS), _PEEK)
        except (BlockingIOError, ConnectionResetError):
            # Reset: the supervisor has ended before it read that we are ready. What it sent is still there.
            return True
        except OSError:
            slot, ancillary, flags = b"", [], 0
        descriptors = rights.received(ancillary)
        if flags & rights.RIGHTS_TRUNCATED:
            for fd in descriptors:
                os.close(fd)
            return False
        if slot:
            self.peer.recv(1)  # the message, of which there are copies now
            self._received(slot[0], descriptors)
        else:
            self._ended()
        return True


def hand_over(peer: socket.socket, slot: int, descriptors: Sequence[int]) -> bool:
    """Send descriptors to a child; return whether they were accepted, or the child has ended."""
    try:
        peer.sendmsg([bytes([slot])], rights.sent(descriptors), socket.MSG_DONTWAIT)
    except ConnectionError:
        return True
    except OSError:
        return False
    return True


def last_words(error: BaseException) -> str:
    """Return an exception's type and place, without its text, which could contain a password."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"


def leave_words(peer: socket.socket, error: BaseException) -> None:
    """Tell the supervisor why this process crashed."""
    try:
        peer.send(last_words(error).encode()[:MAX_WORDS], socket.MSG_DONTWAIT)
    except OSError:
        pass


def announce(peer: socket.socket) -> None:
    """Tell the supervisor that this process is ready."""
    peer.send(SERVES, socket.MSG_DONTWAIT)
