"""Plays the steps of a vector on its stage, and tells what was seen.

Steps, each a word and what it wants:
  send BYTES
  read BYTES     exactly these must arrive
  eof            the client half-closes
  close          the client is gone, once the subprogram runs
  signal NAME    to the popup
  term           SIGTERM to the popup, once the subprogram runs
  tls            wait for the start command on the control socket, answer, carry on over TLS
  tls-silent     the same, but the server answers nothing
  answer BYTES   the server answers these, now
  tls-fails HOW  the start command comes, the handshake fails; the popup learns of it by ctl, input or term
  ctl-closed     the server closes the control socket
"""

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from signal import SIGTERM, Signals

from tests.conformance import notes
from tests.conformance.notes import Notes
from tests.conformance.stage import Stage, in_scratch
from tests.conformance.vector import HOST, Vector
from tests.support import descriptors
from tests.support.descriptors import Line
from tests.support.waiting import TIMEOUT, until

_PLACEHOLDERS = {"{pid}": "[0-9]+", "{time}": "[0-9]+", "{stamp}": rf"<[0-9]+\.[0-9]+@{re.escape(HOST)}>"}


@dataclass
class Seen:
    """All that came of one session."""

    pid: int
    began: int
    """Seconds since 1970 at the latest when the popup started."""
    out: bytes = b""
    packets: list[bytes] = field(default_factory=list)
    log: list[bytes] = field(default_factory=list)
    errors: bytes = b""
    said: bytes = b""
    """What the popup said on the control socket."""
    left: bytes | None = None
    """What the TLS server found on the bare network."""
    exit: int | None = None
    notes: Notes | None = None
    problems: list[str] = field(default_factory=list)


class _GoneError(Exception):
    """The client has gone: nothing more is seen of the session."""


def pattern(text: str) -> re.Pattern[bytes]:
    """Return what matches an expectation with its placeholders."""
    out = re.escape(text)
    for name, meaning in _PLACEHOLDERS.items():
        out = out.replace(re.escape(name), meaning)
    return re.compile(out.encode("latin-1"), re.DOTALL)


def play(vector: Vector, command: Sequence[str]) -> Seen:
    """Run one vector against `command`."""
    began = int(time.time())
    stage, scratch = in_scratch(vector, command)
    with scratch:
        player = _Player(vector, stage, Seen(pid=stage.popup.pid, began=began))
        try:
            player.play()
            player.look()
        finally:
            descriptors.wait(stage.popup, 0)
            stage.strike()
    return player.seen


class _Player:
    """The client, the TLS server and the reader of the log, in one."""

    def __init__(self, vector: Vector, stage: Stage, seen: Seen) -> None:
        self.vector, self.stage, self.seen = vector, stage, seen
        self.line: Line = stage.network
        self.doings: dict[str, Callable[..., None]] = {
            "send": self.send,
            "read": self.read,
            "eof": self.end,
            "close": self.gone,
            "signal": lambda name: stage.popup.send_signal(Signals[name]),
            "term": self.terminate,
            "tls": self.start_tls,
            "tls-silent": self.silent,
            "answer": self.answer,
            "tls-fails": self.fail,
            "ctl-closed": stage.control.close,
        }

    def play(self) -> None:
        """Do the steps, then receive up to the end."""
        with suppress(_GoneError):
            try:
                for word, *wanted in self.vector.steps:
                    self.doings[word](*wanted)
                while self.receive(65536):
                    pass
            except (TimeoutError, AssertionError) as problem:
                self.seen.problems.append(str(problem))

    def receive(self, limit: int) -> bytes:
        data = self.line.receive(limit)
        self.seen.out += data
        if data and self.vector.packets:
            self.seen.packets.append(data)
        return data

    def send(self, text: str) -> None:
        # Where it has gone, what it said before that is still to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.line.send(text.encode("latin-1"))

    def read(self, text: str) -> None:
        """Byte by byte, so that nothing behind it is taken; a pipe of packets gives a packet at a time."""
        wanted, got = pattern(text), b""
        while not wanted.fullmatch(got):
            chunk = self.receive(65536 if self.vector.packets else 1)
            if not chunk:
                raise AssertionError(f"wanted {text!r}, got {got!r} and the end")
            got += chunk

    def end(self) -> None:
        self.line.end()

    def gone(self) -> None:
        """Leave while the subprogram is at work, so that its answer finds nobody."""
        until(self.stage.notes.exists)
        self.stage.network.close()
        raise _GoneError

    def terminate(self) -> None:
        """Be a server whose client has gone."""
        until(self.stage.notes.exists)
        self.stage.popup.send_signal(SIGTERM)

    def silent(self) -> None:
        """Wait for the start command, and carry on over TLS."""
        assert self.stage.tls is not None
        self.stage.control.settimeout(TIMEOUT)
        self.seen.said += self.stage.control.recv(1)
        self._look_behind()
        self.line = self.stage.tls

    def _look_behind(self) -> None:
        if self.stage.server is not None:
            os.set_blocking(self.stage.server, False)
            self.seen.left = b""
            with suppress(BlockingIOError):
                self.seen.left = os.read(self.stage.server, 65536)
            descriptors.close({self.stage.server})
            self.stage.server = None

    def answer(self, text: str) -> None:
        # Too long an answer is not read to its end.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.stage.control.sendall(text.encode("latin-1"))

    def start_tls(self) -> None:
        """`Y` asks for an answer, `y` for none (the popup always wants one)."""
        self.silent()
        if self.seen.said == b"Y":
            self.answer(self.vector.answer)

    def fail(self, how: str) -> None:
        self.silent()
        ways: dict[str, Callable[[], None]] = {
            "ctl": self.stage.control.close,
            "input": self.end,
            "term": lambda: self.stage.popup.send_signal(SIGTERM),
        }
        ways[how]()

    def look(self) -> None:
        """Gather what is known only at the end."""
        seen, stage = self.seen, self.stage
        seen.exit = descriptors.wait(stage.popup)
        if seen.exit is None:
            seen.problems.append("did not exit")
        if not self.vector.full_fd5:
            seen.log = descriptors.writes(stage.log)
        seen.errors = os.pread(stage.errors, 65536, 0)
        seen.said += _rest_of_control(stage)
        seen.notes = notes.read(stage.notes)


def _rest_of_control(stage: Stage) -> bytes:
    if stage.control.fileno() < 0:
        return b""
    with suppress(ConnectionResetError):  # the popup left some of the answer unread
        return stage.control.recv(65536)
    return b""
