"""The stage of one vector: the popup on its descriptors, and the far end of each."""

import os
import signal
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.vector import HOST, Vector
from tests.support import descriptors
from tests.support.descriptors import Line, Started

HERE = Path(__file__).resolve().parent
PROBE = HERE / "probe"
_TLS_NAMES = ("SSLCTLFD", "SSLREADFD", "SSLWRITEFD")


@dataclass
class Stage:
    """The far ends of one popup's descriptors, and the popup."""

    network: Line
    """The client's line, in clear."""
    tls: Line | None
    """Its clear text as the TLS server has it, once TLS is on."""
    control: socket.socket
    server: int | None
    """The TLS server's own copy of descriptor 0, where a vector asks what was left there for it."""
    log: int
    errors: int
    notes: Path
    """Where the probe writes."""
    popup: Started = field(init=False)

    def strike(self) -> None:
        """Close all that is still open."""
        for line in (self.network, self.tls):
            if line is not None:
                line.close()
        self.control.close()
        descriptors.close({self.log, self.errors})
        if self.server is not None:
            descriptors.close({self.server})


def build(vector: Vector, command: Sequence[str], directory: Path) -> Stage:
    """Start `command` as the vector says, with its files in `directory`."""
    stage, fds = _plumb(vector, directory)
    stage.popup = descriptors.start(
        _argv(vector, command),
        fds,
        env=_environment(vector, stage.notes),
        ignore=[signal.Signals[name] for name in vector.ignore],
    )
    descriptors.close(set(fds.values()) - {stage.errors})
    return stage


def _plumb(vector: Vector, directory: Path) -> tuple[Stage, dict[int, int]]:
    """Open all descriptors: the far ends, and what the popup gets under which number."""
    network, *net = descriptors.pipe_line(packets=True) if vector.packets else descriptors.socket_line()
    log, fds = _log(vector)
    control, far_control = socket.socketpair()
    stage = Stage(
        network=network,
        tls=None,
        control=control,
        server=os.dup(net[0]) if vector.behind_stls is not None else None,
        log=log,
        errors=os.open(directory / "errors", os.O_RDWR | os.O_CREAT, 0o600),
        notes=directory / "notes",
    )
    for fd in net:
        os.set_blocking(fd, not vector.nonblocking)
    fds |= {0: net[0], 1: net[1], 2: stage.errors}
    with far_control:
        if vector.tls:
            stage.tls, named = _tls(vector, os.dup(far_control.fileno()))
            fds |= named
    return stage, fds


def _log(vector: Vector) -> tuple[int, dict[int, int]]:
    reader, writer = descriptors.packet_pipe()
    if vector.full_fd5:
        descriptors.fill(writer)
    if vector.no_fd5:
        descriptors.close({writer})
        return reader, {}
    return reader, {5: writer}


def _tls(vector: Vector, control: int) -> tuple[Line, dict[int, int]]:
    names = vector.tls_fds
    shared = names[1] == names[2]
    line, *ends = descriptors.socket_line() if shared else descriptors.pipe_line(packets=vector.packets)
    fds = dict(zip(names, (control, *ends), strict=True))
    if shared:  # one of the two copies has no place
        descriptors.close({ends[0]})
    return line, fds


def _argv(vector: Vector, command: Sequence[str]) -> list[bytes]:
    if vector.argv is None:
        arguments: Sequence[str] = (HOST, str(PROBE), "next")
    else:
        arguments = [str(PROBE) if argument == "/probe" else argument for argument in vector.argv]
    return [os.fsencode(part) for part in command] + [text.encode("latin-1") for text in arguments]


def _environment(vector: Vector, notes: Path) -> dict[bytes, bytes]:
    path = os.environ["PATH"]
    env: dict[str, str | None] = {
        "PATH": f"{HERE}:{path}" if vector.path else path,
        "PROBE_OUT": str(notes),
        "PROBE_DO": vector.do,
    }
    if vector.tls:
        env.update(zip(_TLS_NAMES, map(str, vector.tls_fds), strict=True))
    env.update(vector.env)
    return {
        name.encode("latin-1"): value.encode("latin-1") for name, value in env.items() if value is not None
    }


def in_scratch(vector: Vector, command: Sequence[str]) -> tuple[Stage, tempfile.TemporaryDirectory[str]]:
    """Build a stage in a directory of its own."""
    scratch = tempfile.TemporaryDirectory(prefix="popup-")
    return build(vector, command, Path(scratch.name)), scratch
