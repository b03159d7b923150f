"""A worker's listening sockets: accepts connections while descriptors are available."""

import socket
from collections.abc import Callable, Sequence

from qmail_popup.listener import addresses
from qmail_popup.listener.process.loop import ALONE, IN, Deadlines, Loop
from qmail_popup.listener.process.sockets import POP3, Listening
from qmail_popup.listener.tls.suites import CLEAR, UNKNOWN

_PAUSE_SECONDS = 0.1  # when out of descriptors


class _Acceptor:
    """A listening socket. tls: whether connections begin with TLS."""

    __slots__ = ("_acceptors", "_family", "_type", "peer", "tls")

    def __init__(self, acceptors: "Acceptors", listening: Listening) -> None:
        self._acceptors, self.peer = acceptors, listening.socket
        self._family, self._type = int(listening.socket.family), int(socket.SOCK_STREAM)
        self.tls = CLEAR if listening.kind == POP3 else UNKNOWN

    def ready(self, _events: int) -> None:
        self._acceptors.accept(self)

    def accept(self) -> tuple[socket.SocketType, addresses.Name]:
        """Accept a connection; OSError. socket.accept() also converts family and type to enums, and back."""
        fd, name = self.peer._accept()  # type: ignore[attr-defined]  # noqa: SLF001  in every Python version
        return socket.SocketType(self._family, self._type, 0, fd), name


class Acceptors:
    """All listening sockets of a worker."""

    def __init__(
        self,
        loop: Loop,
        listening: Sequence[Listening],
        accepted: Callable[[socket.SocketType, addresses.Address, int], None],
    ) -> None:
        """Start listening. accepted: called with each client's socket, address and TLS."""
        self._loop, self._accepted = loop, accepted
        self._full: Deadlines[_Acceptor] = Deadlines(_PAUSE_SECONDS, self._open)
        loop.timers.append(self._full)
        self._acceptors = [_Acceptor(self, one) for one in listening]
        for acceptor in self._acceptors:
            self._open(acceptor)

    def accept(self, acceptor: _Acceptor) -> bool:
        """Accept only one connection, to share them with other workers; False if none waits or it fails."""
        try:
            peer, name = acceptor.accept()
        except BlockingIOError:
            return False
        except ConnectionError:  # the client is gone already
            return True
        except OSError:  # out of descriptors or memory
            self._loop.forget(acceptor.peer.fileno())
            self._full.set(acceptor)
            return False
        self._accepted(peer, addresses.read(name), acceptor.tls)
        return True

    def accept_all(self) -> None:
        """Accept all waiting connections: the kernel may have woken only a worker that has since ended."""
        for acceptor in self._acceptors:
            while self.accept(acceptor):
                pass

    def close(self) -> None:
        """Accept connections that wait already, then stop: the kernel wakes other workers for later ones."""
        for acceptor in self._acceptors:
            self._loop.forget(acceptor.peer.fileno())
        self.accept_all()
        for acceptor in self._acceptors:
            self._full.drop(acceptor)
            acceptor.peer.close()
        self._acceptors.clear()

    def _open(self, acceptor: _Acceptor) -> None:
        self._loop.watch(acceptor.peer.fileno(), acceptor, IN | ALONE)
