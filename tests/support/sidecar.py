"""A real sidecar in its own process, and events to send to it."""

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from observability.event import SEPARATOR, build
from tests.support import forkserver
from tests.support.keeper import COMMAND, Keeper
from tests.support.waiting import TIMEOUT

START = 1_700_000_000_000_000_000  # nanoseconds since 1970
RECORD = b"qmail-popup: pid 77 Accept::AUTH::User P:POP3 S:192.0.2.7:client.example.org ?~ 'bob'"

ACCEPTED = {"result": "accepted", "method": "User", "protocol": "POP3"}
SESSION = {"ended": "accepted", "protocol": "POP3"}
KILLED = {"ended": "killed", "protocol": "POP3"}

_NONE: Mapping[str, bytes | None] = MappingProxyType({})


def fields(changes: Mapping[str, bytes | None] = _NONE) -> dict[bytes, bytes]:
    """Return the fields of an accepted session, with a new identity; changes: None omits a name."""
    told: dict[str, bytes | None] = {
        "TRACE": os.urandom(16).hex().encode(),
        "SPAN": os.urandom(8).hex().encode(),
        "RECORD": RECORD,
        "ENDED": b"accepted",
        "PROTOCOL": b"POP3",
        "PID": b"77",
        "CLIENT_IP": b"192.0.2.7",
        "CLIENT_HOST": b"client.example.org",
        "CLIENT_PORT": b"40000",
        "LOCAL_IP": b"192.0.2.1",
        "LOCAL_PORT": b"110",
        "T_START": b"%d" % START,
        "T_GREETED": b"%d" % (START + 1_000_000),
        "T_CREDENTIALS": b"%d" % (START + 50_000_000),
        "T_SPAWNED": b"%d" % (START + 51_000_000),
        "T_EXITED": b"%d" % (START + 350_000_000),
        "T_ENDED": b"%d" % (START + 400_000_000),
        "STATUS": b"0",
        **changes,
    }
    return {name.encode(): value for name, value in told.items() if value is not None}


REJECTED = {
    "RECORD": RECORD.replace(b"Accept", b"Reject"),
    "ENDED": b"rejected",
    "STATUS": b"1",
}
_HELLO = (
    b"TRACE",
    b"PID",
    b"PROTOCOL",
    b"CLIENT_IP",
    b"CLIENT_HOST",
    b"CLIENT_PORT",
    b"LOCAL_IP",
    b"LOCAL_PORT",
    b"T_START",
)


def hello_of(told: Mapping[bytes, bytes]) -> bytes:
    """Return the hello of the session whose event has these fields."""
    return build({name: told[name] for name in _HELLO})


def spooled(*blocks: bytes) -> bytes:
    """Return blocks as in the spool."""
    return b"".join(SEPARATOR + block for block in blocks)


def connect(path: Path, *blocks: bytes) -> socket.socket:
    """Connect to a sidecar and send blocks."""
    peer = socket.socket(socket.AF_UNIX)
    try:
        peer.connect(str(path))  # without a timeout, so that it blocks while the backlog is full
        peer.settimeout(TIMEOUT)
        for block in blocks:
            peer.sendall(block)
    except OSError:
        peer.close()
        raise
    return peer


def deliver(path: Path, *blocks: bytes) -> bytes:
    """Send blocks over a new connection; return the acknowledgement."""
    with connect(path, *blocks) as peer:
        return peer.recv(1)


class RunningSidecar(Keeper):
    """A running sidecar in its own directory; leaving the context ends it."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        prefix: Sequence[str] = (),
        environ: Mapping[str, str] = MappingProxyType({}),
        fds: Sequence[int] = (),
    ) -> None:
        """Start it and wait until it is ready. prefix: a command that runs another."""
        super().__init__(directory, [*prefix, *COMMAND], environ=environ, fds=fds)
        self.start(*options)


def command(directory: Path) -> list[str]:
    """Return the command line of a sidecar with all its files in `directory`."""
    paths = {"socket": directory / "run" / "sidecar.sock", "spool": directory / "spool"}
    named = [f"--{name}={path}" for name, path in paths.items()]
    state = f"--state={directory / 'state.sqlite'}"
    return [*COMMAND, *named, state, "--listen=127.0.0.1:0"]


def leave(sidecar: RunningSidecar, *blocks: bytes) -> None:
    """Write blocks to the spool, as popups do that found no sidecar."""
    with (sidecar.spool / "spool").open("ab") as file:
        file.write(spooled(*blocks))


def refused(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Start a sidecar that should exit by itself."""
    return forkserver.run(*command(directory)[len(COMMAND) :], *options)
