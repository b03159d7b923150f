"""Popups without POP3: events for a sidecar from a process of their own, one connection for each.

    python -m tests.bench.generator SOCKET COUNT [RATE]

A window of connections is opened, told and then waited for, as that many sessions ending at once. RATE is in
events a second; without it, as fast as they are acknowledged. Prints the seconds it took. Every event must be
acknowledged, or it ends with an error.
"""

import os
import socket
import sys
import time
from pathlib import Path

from observability.event import build
from tests.support.sidecar import REJECTED, fields, hello_of

_WINDOW = 64
_PATIENCE_SECONDS = 60.0


def send(path: str, count: int, rate: float | None = None) -> float:
    """Send `count` events; the seconds until the last was acknowledged."""
    sessions = _templates()
    started = time.monotonic()
    for first in range(0, count, _WINDOW):
        number = min(_WINDOW, count - first)
        _window(path, [sessions[(first + n) % len(sessions)] for n in range(number)])
        if rate:
            time.sleep(max(0.0, started + (first + number) / rate - time.monotonic()))
    return time.monotonic() - started


def _window(path: str, sessions: list[bytes]) -> None:
    peers = []
    for session in sessions:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(_PATIENCE_SECONDS)
        peer.connect(path)
        peer.sendall(session.replace(_TRACE, os.urandom(16).hex().encode()))
        peers.append(peer)
    for peer in peers:
        if not peer.recv(1):
            raise RuntimeError("an event was not acknowledged")
        peer.close()


_TRACE = b"f" * 32


def _templates() -> list[bytes]:
    """Return what sessions send, hello and event: three accepted for each that is refused."""
    accepted = fields({"TRACE": _TRACE})
    rejected = fields({"TRACE": _TRACE, **REJECTED, "REASON": b"credentials"})
    return [hello_of(told) + build(told) for told in (accepted, accepted, accepted, rejected)]


if __name__ == "__main__":
    socket_path, amount, *pace = sys.argv[1:]
    print(send(str(Path(socket_path)), int(amount), float(pace[0]) if pace else None))
