"""Passing descriptors over a Unix socket (SCM_RIGHTS, unix(7)).

socket.recv_fds accepts flags but ignores them, so subprograms would inherit the descriptors it receives.
"""

import socket
from array import array
from collections.abc import Sequence

# Plain integers: the socket module's enum members take ten times as long to compare.
FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)  # for recvmsg
TRUNCATED, RIGHTS_TRUNCATED = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)  # in its result
_INT = array("i").itemsize

Ancillary = tuple[int, int, bytes]


def room(descriptors: int) -> int:
    """Return the buffer size for that many; the kernel closes descriptors that do not fit."""
    return socket.CMSG_SPACE(descriptors * _INT)


def received(ancillary: Sequence[Ancillary]) -> list[int]:
    """Return the received descriptors, which the caller must close."""
    if not ancillary:
        return []
    numbers = array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) - len(data) % _INT])
    return list(numbers)


def sent(descriptors: Sequence[int]) -> list[Ancillary]:
    """Return the ancillary data that passes descriptors."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors).tobytes())]
