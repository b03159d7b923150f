"""The TLS server's ends of the UCSPI-TLS descriptors, and the popup's side that starts TLS."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from qmail_popup import tls
from qmail_popup.tls import Handshake, Sigterm
from tests.support import descriptors
from tests.support.waiting import TIMEOUT

ANSWER = b"SSL_PROTOCOL=TLSv1.3\0SSL_CIPHER=TLS_AES_256_GCM_SHA384\0\0"
TOLD = {b"SSL_PROTOCOL": b"TLSv1.3", b"SSL_CIPHER": b"TLS_AES_256_GCM_SHA384"}
CONTROL, READ, WRITE = 10, 11, 12


@dataclass
class Server:
    """The server's ends."""

    control: socket.socket
    writer: int
    reader: int
    fds: dict[int, int]

    def hand_over(self) -> None:
        """Close its copies of the popup's ends, after the popup has started."""
        descriptors.close(self.fds.values())


@contextmanager
def offered() -> Iterator[Server]:
    """Offer TLS; 0 and 1 are the bare network, which must not be used."""
    control, far_control = socket.socketpair()
    far_reader, writer = os.pipe()
    reader, far_writer = os.pipe()
    bare = os.open(os.devnull, os.O_RDWR)
    fds = {0: bare, 1: bare, CONTROL: far_control.detach(), READ: far_reader, WRITE: far_writer}
    control.settimeout(TIMEOUT)
    yield Server(control, writer, reader, fds)
    control.close()
    descriptors.close({writer, reader, *fds.values()})


def started(sigterm: Sigterm | None = None) -> Handshake:
    """Start TLS."""
    handshake = tls.start([CONTROL, READ, WRITE], sigterm)
    assert handshake is not None
    return handshake


def until_heard(handshake: Handshake) -> str | None:
    """Wait for the server's complete answer."""
    while handshake.control in (watched := handshake.descriptors()):
        ready = select.select(watched, [], [], TIMEOUT)[0]
        if ended := handshake.ended(ready):
            return ended
    return None


def answered() -> tuple[str | None, dict[bytes, bytes]]:
    """Start TLS and return the server's answer."""
    handshake = started()
    return until_heard(handshake), handshake.answer
