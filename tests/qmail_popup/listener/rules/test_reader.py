"""The reader of rules, alone with those who ask it."""

import errno
import os
import socket
import time
from pathlib import Path
from unittest import mock

from qmail_popup.listener.rules.reader import Reader
from tests.support.background import Background


def test_a_kernel_without_memory(tmp_path: Path) -> None:
    """An answer waits, the loop does not turn without a pause meanwhile, and then it is sent."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control, supervisor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    tries: list[float] = []

    def send(data: bytes, _flags: int) -> int:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        theirs.close()  # after which the reader ends
        return len(data)

    with ours, theirs, control, supervisor:
        peer = mock.Mock(fileno=ours.fileno, recv=ours.recv, send=send)
        with Background(Reader(os.fsencode(tmp_path / "rules.cdb"), control, [peer]).run):
            pass
    assert 3 == len(tries)
    assert tries[2] - tries[0] >= 0.2
