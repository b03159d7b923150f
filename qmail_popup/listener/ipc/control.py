"""What the supervisor hands to its children while they run: channels, over one socket to each.

The end of that socket is the end of the supervisor, or of its wish for this child: no new connections then. A
child says there that it serves and, where it ends by a fault of its own, its last words.
"""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from qmail_popup.listener.ipc import rights

SERVES = b"serves"
MAX_WORDS = 200  # bytes
_MAX_DESCRIPTORS = 2


class Control:
    """A child's end."""

    def __init__(
        self, peer: socket.socket, received: Callable[[int, list[int]], None], ended: Callable[[], None]
    ) -> None:
        """Call `received` with a slot and descriptors, and `ended` at the end."""
        self.peer, self._received, self._ended = peer, received, ended
        self._reserve: list[int] = []
        self._fill()

    def ready(self, _events: int) -> None:
        """Take one message; there is room for its descriptors, even if clients have taken all others."""
        while self._reserve:
            os.close(self._reserve.pop())
        self._take()
        self._fill()

    def _fill(self) -> None:
        """Keep as many descriptors as a message may bring, as long as there are any."""
        with suppress(OSError):
            while len(self._reserve) < _MAX_DESCRIPTORS:
                self._reserve.append(os.eventfd(0))

    def _take(self) -> None:
        try:
            slot, ancillary, _, _ = self.peer.recvmsg(1, rights.room(_MAX_DESCRIPTORS), rights.FLAGS)
        except BlockingIOError:
            return
        except OSError:
            slot, ancillary = b"", []
        if slot:
            self._received(slot[0], rights.received(ancillary))
        else:
            self._ended()


def hand_over(peer: socket.socket, slot: int, descriptors: Sequence[int]) -> bool:
    """Send descriptors to a child; whether it took them."""
    try:
        peer.sendmsg([bytes([slot])], rights.sent(descriptors), socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def last_words(error: BaseException) -> str:
    """Return what kind of fault it was and where; what it says may hold anything, so that is not told."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"


def leave_words(peer: socket.socket, error: BaseException) -> None:
    """Tell the supervisor why this process ends."""
    try:
        peer.send(last_words(error).encode()[:MAX_WORDS], socket.MSG_DONTWAIT)
    except OSError:
        pass


def announce(peer: socket.socket) -> None:
    """Tell the supervisor that this process serves."""
    peer.send(SERVES, socket.MSG_DONTWAIT)
