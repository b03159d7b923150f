"""What the supervisor hands to its children."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from qmail_popup.listener.ipc.control import Control, announce, hand_over
from qmail_popup.listener.process.loop import Loop


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Take all descriptors that this process may open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 512), limits[1]))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(0))
        yield


def test_where_no_descriptor_is_left() -> None:
    """Those that are handed over arrive: a spawner or a worker that clients have filled goes on."""
    came: list[int] = []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        control = Control(Loop(), theirs, lambda _slot, descriptors: came.extend(descriptors), lambda: None)
        assert hand_over(ours, 3, [0, 0])
        with no_descriptor_left():
            control.ready(0)
    assert 2 == len(came)
    for fd in came:
        os.close(fd)


def test_where_no_descriptor_is_left_twice() -> None:
    """The first message takes the reserve; the second waits until there is room."""
    came: list[int] = []
    loop, (ours, theirs) = Loop(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        control = Control(loop, theirs, lambda _slot, descriptors: came.extend(descriptors), lambda: None)
        with no_descriptor_left():
            for _ in range(2):
                assert hand_over(ours, 3, [0, 0])
                control.ready(0)
            assert 2 == len(came)
        while len(came) < 4:
            loop.turn()
    for fd in came:
        os.close(fd)


@pytest.mark.parametrize("unread", [0, 1])
def test_what_was_sent_before_the_end_is_received(unread: int) -> None:
    """Even if the supervisor ends before it has read that the child is ready, which resets the connection."""
    came: list[int] = []
    ended: list[int] = []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        control = Control(
            Loop(), theirs, lambda _slot, descriptors: came.extend(descriptors), lambda: ended.append(1)
        )
        with ours:
            for _ in range(unread):
                announce(theirs)
            assert hand_over(ours, 3, [0, 0])
        while not ended:
            control.ready(0)
    assert 2 == len(came)
    for fd in came:
        os.close(fd)
