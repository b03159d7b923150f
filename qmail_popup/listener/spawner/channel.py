"""Receives one worker's frames in the spawner, validates and dispatches them.

The worker may be compromised. So the size of a message is limited, every received descriptor is closed
except the one that comes with a login, which must be a stream socket, and a worker that sends anything else
is killed, with one line in the log. A frame affects only sessions of the worker that sent it: sessions are
looked up by worker and number.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from qmail_popup.listener import addresses
from qmail_popup.listener.ipc import rights
from qmail_popup.listener.ipc.frames import BEGIN, LOGIN, MAX_FRAME, BrokenFrameError, Frame, parse
from qmail_popup.listener.process.throttled import Throttled
from qmail_popup.listener.spawner.session import Session
from qmail_popup.listener.tls.suites import CLEAR
from qmail_popup.wire import wipe

_MAX_DESCRIPTORS = 16  # received per message, to be closed; the kernel closes any beyond
_ROOM = rights.room(_MAX_DESCRIPTORS)
# Plain integers, as SocketType has them.
_INTERNET, _UNIX, _STREAM = (
    (int(socket.AF_INET), int(socket.AF_INET6)),
    int(socket.AF_UNIX),
    int(socket.SOCK_STREAM),
)
_NO_NAME = ("", b"")  # names of an unnamed Unix socket


class Spawner(Protocol):
    """Handles the frames."""

    def begin(self, frame: Frame) -> Session:
        """Handle a connection that has been greeted."""

    def login(self, session: Session, peer: socket.SocketType) -> None:
        """Handle a login."""

    def refuse(self, session: Session, peer: socket.SocketType) -> None:
        """Handle a login that may not run."""

    def waiting(self, slot: int) -> int:
        """Return how many logins of a worker wait to run."""

    def end(self, session: Session) -> None:
        """Handle the end of a session before login."""

    def cut_off(self, session: Session) -> None:
        """Handle a session whose worker has ended."""

    def gone(self, channel: "Channel") -> None:
        """Handle the end of a worker."""


class Channel:
    """The connection to one worker.

    slot: identifies its session numbers; process: a pidfd(2)
    """

    def __init__(  # noqa: PLR0913  its collaborators
        self,
        spawner: Spawner,
        peer: socket.socket,
        *,
        process: int,
        slot: int,
        limit: int,
        balancers: Collection[addresses.Network],
        log: Callable[[str], None],
    ) -> None:
        """limit: maximum number of connections before login, and of logins that wait.

        balancers: networks that send PROXY headers; log: writes a line
        """
        self._spawner, self.peer, self._process, self.slot = spawner, peer, process, slot
        self._limit, self._balancers, self._log = limit, balancers, log
        self._log_lost = Throttled(log)
        self._open: dict[int, Session] = {}  # sessions before login
        self._buffer = bytearray(MAX_FRAME + 1)
        self._view = memoryview(self._buffer)

    def ready(self, _events: int) -> None:
        """Receive only one message, so that one worker cannot delay the others."""
        try:
            self._receive()
        except BlockingIOError:
            return
        except BrokenFrameError as error:
            self._log(f"a worker sent {error}; ending it")
            self._drop()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """Kill the worker, if it still runs, and end its sessions before login."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        os.close(self._process)
        for session in self._open.values():
            self._spawner.cut_off(session)
        self._open.clear()
        self._spawner.gone(self)
        self.peer.close()

    def _receive(self) -> None:
        """Receive one message or end of file. The buffer may hold a secret, and is wiped."""
        size, ancillary, flags, _ = self.peer.recvmsg_into([self._buffer], _ROOM, rights.FLAGS)
        descriptors = rights.received(ancillary)
        try:
            if not size and not descriptors:
                self._drop()
                return
            if flags & rights.TRUNCATED or (flags & rights.RIGHTS_TRUNCATED and descriptors):
                raise BrokenFrameError("more than a frame can hold")
            frame = parse(self._view[:size], self.slot, time.monotonic_ns())
            if flags & rights.RIGHTS_TRUNCATED:
                self._lose(frame)
            else:
                self._take(frame, descriptors)
        finally:
            self._view[:size] = bytes(size)
            for fd in descriptors:
                os.close(fd)

    def _take(self, frame: Frame, descriptors: list[int]) -> None:
        if len(descriptors) != (frame.kind == LOGIN):
            raise BrokenFrameError("descriptors that do not belong to its frame")
        if frame.kind == BEGIN:
            self._begin(frame)
            return
        session = self._open.pop(frame.number, None) or Session(frame)
        session.frame = frame
        if frame.kind == LOGIN:
            is_full = self._spawner.waiting(self.slot) >= self._limit  # they came while we were stopped
            take = self._spawner.refuse if is_full else self._spawner.login
            take(session, _peer(descriptors, session, self._balancers))
        else:
            self._spawner.end(session)

    def _lose(self, frame: Frame) -> None:
        """Drop a login whose descriptor did not fit under our limit, which is not the worker's fault."""
        wipe(frame.secret)
        self._log_lost("out of descriptors, so logins are dropped; see ulimit -Hn")
        session = self._open.pop(frame.number, None) or Session(frame)
        self._spawner.cut_off(session)

    def _begin(self, frame: Frame) -> None:
        if frame.number in self._open:
            raise BrokenFrameError("a session number that it has already used")
        if len(self._open) >= self._limit:
            raise BrokenFrameError("more connections than are allowed")
        self._open[frame.number] = self._spawner.begin(frame)


def _peer(
    descriptors: list[int], session: Session, balancers: Collection[addresses.Network]
) -> socket.SocketType:
    """Return the client's socket, removed from `descriptors`, and set the session's addresses from it.

    The worker's addresses are used instead behind a balancer, whose header only the worker has read, for a
    client that has reset its connection and so has no address any more, and over TLS.
    """
    try:
        peer = socket.SocketType(fileno=descriptors[0])  # which asks for its family and type
    except OSError as error:
        raise BrokenFrameError("a descriptor that is not a socket") from error
    del descriptors[0]
    try:
        if session.frame.tls == CLEAR:
            _check(peer, session, balancers)
        else:
            _check_pair(peer)
            session.client, session.local = session.frame.client, session.frame.local
    except BrokenFrameError:
        peer.close()
        raise
    return peer


def _check(peer: socket.SocketType, session: Session, balancers: Collection[addresses.Network]) -> None:
    if peer.family not in _INTERNET or peer.type != _STREAM:
        raise BrokenFrameError("a socket that is not a client's")
    local = addresses.read_local(peer.getsockname())
    try:
        client = addresses.read(peer.getpeername())
    except OSError as error:
        if peer.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise BrokenFrameError("a socket that is not a client's") from error
        if not balancers:
            session.local = local
        return
    if not balancers or not addresses.is_in(client.ip, balancers):
        session.client, session.local = client, local


def _check_pair(peer: socket.SocketType) -> None:
    """Check that the socket comes from socketpair(2): a named one is another program's, or connected to it.

    That program would receive the output of a subprogram that may be root, and SO_PASSCRED would confirm it.
    """
    if peer.family != _UNIX or peer.type != _STREAM:
        raise BrokenFrameError("a socket that is not one of a pair")
    try:
        names = (peer.getsockname(), peer.getpeername())
    except OSError as error:
        raise BrokenFrameError("a socket that is not one of a pair") from error
    if any(name not in _NO_NAME for name in names):
        raise BrokenFrameError("a socket that is not one of a pair")
