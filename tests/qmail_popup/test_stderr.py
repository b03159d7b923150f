"""Descriptor 2 when it is kept past the session's end: never where a client would wait for that."""

import socket
import subprocess
import sys
from subprocess import DEVNULL

from qmail_popup.stderr import printable
from tests.support.descriptors import CHECKOUT

_KEPT = """
import os, sys
from qmail_popup.stderr import kept
fd = kept()
sys.exit(0 if fd is None else 9 if os.get_inheritable(fd) else fd)
"""


def kept(stdin: int, stdout: int, stderr: int) -> int:
    """Return the descriptor that a process keeps; 0 for none, 9 for one that it would hand down."""
    argv = [sys.executable, "-c", _KEPT]
    return subprocess.run(
        argv, cwd=CHECKOUT, stdin=stdin, stdout=stdout, stderr=stderr, check=False
    ).returncode


def test_it_is_kept_above_all_that_means_something() -> None:
    """And no subprogram gets it."""
    reader, writer = socket.socketpair()
    with reader, writer:
        assert 10 == kept(DEVNULL, DEVNULL, writer.fileno())


def test_a_clients_socket_is_not_kept() -> None:
    """As inetd hands it down: the client waits for the end of its connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert 0 == kept(theirs.fileno(), theirs.fileno(), theirs.fileno())


def test_what_is_printed() -> None:
    """ASCII that can be seen, and spaces; a question mark for any other byte; no more than 512 of them."""
    shown = b"?" * 32 + bytes(range(32, 127)) + b"?" * 129
    assert shown + shown == printable(bytes(range(256)) * 3)
