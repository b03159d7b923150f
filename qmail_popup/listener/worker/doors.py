"""A worker's listening sockets: accepts connections while descriptors are available."""

import socket
from collections.abc import Callable, Sequence

from qmail_popup.listener import addresses
from qmail_popup.listener.process.loop import ALONE, IN, Deadlines, Loop
from qmail_popup.listener.process.sockets import POP3, Listening
from qmail_popup.listener.tls.suites import CLEAR, UNKNOWN

_PAUSE_SECONDS = 0.1  # when out of descriptors


class _Door:
    """A listening socket. tls: whether connections begin with TLS."""

    __slots__ = ("_doors", "_family", "_type", "peer", "tls")

    def __init__(self, doors: "Doors", listening: Listening) -> None:
        self._doors, self.peer = doors, listening.socket
        self._family, self._type = int(listening.socket.family), int(socket.SOCK_STREAM)
        self.tls = CLEAR if listening.kind == POP3 else UNKNOWN

    def ready(self, _events: int) -> None:
        self._doors.accept(self)

    def accept(self) -> tuple[socket.SocketType, addresses.Name]:
        """Accept a connection; OSError. socket.accept() also converts family and type to enums, and back."""
        fd, name = self.peer._accept()  # type: ignore[attr-defined]  # noqa: SLF001  in every Python version
        return socket.SocketType(self._family, self._type, 0, fd), name


class Doors:
    """All listening sockets of a worker."""

    def __init__(
        self,
        loop: Loop,
        listening: Sequence[Listening],
        accepted: Callable[[socket.SocketType, addresses.Address, int], None],
    ) -> None:
        """Start listening. accepted: called with each client's socket, address and TLS."""
        self._loop, self._accepted = loop, accepted
        self._full: Deadlines[_Door] = Deadlines(_PAUSE_SECONDS, self._open)
        loop.timers.append(self._full)
        self._doors = [_Door(self, one) for one in listening]
        for door in self._doors:
            self._open(door)

    def accept(self, door: _Door) -> bool:
        """Accept only one connection, to share them with other workers; False if none waits or it fails."""
        try:
            peer, name = door.accept()
        except BlockingIOError:
            return False
        except ConnectionError:  # the client is gone already
            return True
        except OSError:  # out of descriptors or memory
            self._loop.forget(door.peer.fileno())
            self._full.set(door)
            return False
        self._accepted(peer, addresses.read(name), door.tls)
        return True

    def accept_all(self) -> None:
        """Accept all waiting connections: the kernel may have woken only a worker that has since ended."""
        for door in self._doors:
            while self.accept(door):
                pass

    def close(self) -> None:
        """Accept connections that wait already, then stop: the kernel wakes other workers for later ones."""
        for door in self._doors:
            self._loop.forget(door.peer.fileno())
        self.accept_all()
        for door in self._doors:
            self._full.drop(door)
            door.peer.close()
        self._doors.clear()

    def _open(self, door: _Door) -> None:
        self._loop.watch(door.peer.fileno(), door, IN | ALONE)
