"""Descriptors that travel over a Unix socket (SCM_RIGHTS, unix(7)).

Not by socket.recv_fds, which takes flags and ignores them: subprograms would inherit what it receives.
"""

import socket
from array import array
from collections.abc import Sequence

# Plain numbers: what the socket module has costs ten times as much to compare.
FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)  # to receive with
TRUNCATED, RIGHTS_TRUNCATED = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)  # of what was received
_INT = array("i").itemsize

Ancillary = tuple[int, int, bytes]


def room(descriptors: int) -> int:
    """Return how much ancillary data that many are; of more the kernel closes those that do not fit."""
    return socket.CMSG_SPACE(descriptors * _INT)


def received(ancillary: Sequence[Ancillary]) -> list[int]:
    """Return the descriptors that have come, which are ours to close."""
    numbers = array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) - len(data) % _INT])
    return list(numbers)


def sent(descriptors: Sequence[int]) -> list[Ancillary]:
    """Return what is sent for descriptors to travel."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors).tobytes())]
