"""The vectors of the popup that can be put to a TCP connection, over TCP.

Left out is what a connection has not got: another server's descriptors and variables, arguments and signals
of one session. What stands for the pid is the session's number, and the client's address is known. Vectors
of STLS are put to a listener with a certificate, by a client that speaks TLS.
"""

import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance import test_vectors
from tests.conformance.notes import read
from tests.conformance.session import Seen, pattern
from tests.conformance.stage import HERE, PROBE
from tests.conformance.vector import Vector
from tests.conformance.verdict import complaints
from tests.qmail_popup.listener.conftest import Certified
from tests.support import secure
from tests.support.resident import HOST, Listener, read_all
from tests.support.waiting import TIMEOUT, until

_STEPS = {"send", "read", "eof", "close", "tls"}
_ENVIRONMENT = ("POP3AUTH", "UCSPITLS", "QMAIL_POPUP_")

# The probe does what a file says, so that one listener can serve many vectors.
_ACTOR = f"""#!/bin/sh
PROBE_DO=$(cat "$PROBE_OUT.do")
export PROBE_DO
exec {PROBE} "$@"
"""
_CLEAR_BEHIND_STLS = re.compile(r"stls[^\n]*\n.", re.IGNORECASE | re.DOTALL)
Serving = Callable[[Vector], tuple[Listener, Path]]


def fits(vector: Vector) -> bool:
    """Return whether a vector can be put to a TCP connection."""
    if vector.tls and not _fits_over_tls(vector):
        return False
    if vector.packets or vector.nonblocking or vector.argv is not None or vector.path:
        return False
    if vector.ignore or vector.no_fd5 or vector.full_fd5 or vector.sub_env or vector.sub_argv:
        return False
    if not all(name.startswith(_ENVIRONMENT) and value is not None for name, value in vector.env.items()):
        return False
    return {word for word, *_ in vector.steps} <= _STEPS


def _fits_over_tls(vector: Vector) -> bool:
    """Leave out what a server says of TLS, and what stands in clear behind STLS, which fails a handshake."""
    return "UCSPITLS" in vector.env and vector.tls_fds == (10, 11, 12) and not _is_clear_behind_stls(vector)


def _is_clear_behind_stls(vector: Vector) -> bool:
    said = ["".join(text) for word, *text in vector.steps if word == "send"]
    return any(_CLEAR_BEHIND_STLS.search(text) for text in said)


VECTORS = [vector for vector in test_vectors.VECTORS if fits(vector)]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, certified: Certified) -> Iterator[Serving]:
    """Return what serves a vector: a listener in its environment, and where the probe writes."""
    running: dict[tuple[object, ...], tuple[Listener, Path]] = {}

    def serve(vector: Vector) -> tuple[Listener, Path]:
        key = (vector.tls, *vector.env.items())
        if key not in running:
            options = certified.options if vector.tls else ()
            running[key] = _start(tmp_path_factory.mktemp("listener"), vector, options)
        listener, notes = running[key]
        notes.unlink(missing_ok=True)
        listener.log.write_bytes(b"")
        Path(f"{notes}.do").write_text(vector.do)
        return listener, notes

    yield serve
    for listener, _ in running.values():
        listener.__exit__(None, None, None)


def _start(directory: Path, vector: Vector, options: Sequence[str]) -> tuple[Listener, Path]:
    actor, notes = directory / "actor", directory / "notes"
    actor.write_text(_ACTOR)
    actor.chmod(0o755)
    env = {name: value for name, value in vector.env.items() if value is not None}
    subprogram = [str(actor), "next"]
    environ = {"PROBE_OUT": str(notes), "PATH": f"{HERE}:{os.environ['PATH']}", **env}
    return Listener(directory, *options, subprogram=subprogram, env=environ), notes


class _Client:
    """Plays the steps of a vector."""

    def __init__(self, listener: Listener, notes: Path, context: ssl.SSLContext) -> None:
        self._bare = socket.create_connection((HOST, listener.port), TIMEOUT)
        self._peer: socket.socket | secure.Client = self._bare
        self._notes, self._context = notes, context
        self.received = b""

    def play(self, vector: Vector) -> None:
        """Do the steps, then receive up to the end."""
        doings: dict[str, Callable[..., None]] = {
            "send": self._send,
            "read": self._read,
            "eof": self._end,
            "tls": self._start_tls,
        }
        with self._bare:
            for word, *wanted in vector.steps:
                if word == "close":
                    until(self._notes.exists)
                    return
                doings[word](*wanted)
            self.received += read_all(self._peer)

    def _send(self, text: str) -> None:
        with suppress(ConnectionError):
            self._peer.sendall(text.encode("latin-1"))

    def _read(self, text: str) -> None:
        wanted, got = pattern(text), b""
        while not wanted.fullmatch(got):
            byte = self._peer.recv(1)
            assert byte, f"wanted {text!r}, got {got!r} and the end"
            got += byte
        self.received += got

    def _end(self) -> None:
        with suppress(OSError):
            if isinstance(self._peer, secure.Client):
                self._peer.end()
            else:
                self._peer.shutdown(socket.SHUT_WR)

    def _start_tls(self) -> None:
        self._peer = secure.Client(self._bare, self._context)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector(vector: Vector, serving: Serving, certified: Certified) -> None:
    """All that comes of the session is as its vector has it."""
    listener, notes = serving(vector)
    began = int(time.time())
    client = _Client(listener, notes, certified.issuer.trusted())
    client.play(vector)
    log = [line.encode("latin-1") + b"\n" for line in listener.wait_for_records(len(vector.log))]
    number = int(log[0].split(b" ")[2]) if log else 0
    seen = Seen(pid=number, began=began, out=client.received, exit=vector.exit)
    seen.log = [line.replace(f"S:{HOST}:".encode(), b"S:unknown:") for line in log]
    seen.notes = read(notes)
    assert [] == [text for text in complaints(vector, seen) if not text.startswith(_UNSEEN)]


# What is written to descriptor 2 or to a server, and a greeting's number without a record to hold it against.
_UNSEEN = ("descriptor 2:", "control socket:", "pid: wanted 0,")


def test_most_vectors_fit() -> None:
    """Those that are left out are the ones that need another server."""
    assert len(VECTORS) > 100
    assert len([vector for vector in VECTORS if vector.tls]) > 20
