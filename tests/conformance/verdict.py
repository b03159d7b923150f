"""Holds what was seen of a session against its vector: a list of complaints, empty where all holds."""

import re
import signal
import time
from collections.abc import Callable, Iterator

from tests.conformance.notes import Notes
from tests.conformance.session import Seen, pattern
from tests.conformance.vector import Vector

_DEFAULTED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
_STAMP = re.compile(rb"<([0-9]+)\.([0-9]+)@")
_RECORD_PID = re.compile(rb"^qmail-popup: pid ([0-9]+) ")


def complaints(vector: Vector, seen: Seen) -> list[str]:
    """Return all that is not as the vector has it."""
    return [*seen.problems, *(text for check in _CHECKS for text in check(vector, seen))]


def _out(vector: Vector, seen: Seen) -> Iterator[str]:
    if vector.out is not None and not pattern(vector.out).fullmatch(seen.out):
        yield f"out: wanted {vector.out!r}, got {seen.out!r}"
    for packet in seen.packets:
        if not packet.endswith(b"\r\n"):
            yield f"a write of its own: {packet!r}"


def _errors(vector: Vector, seen: Seen) -> Iterator[str]:
    kept = vector.env.get("QMAIL_POPUP_STDERR") == "keep" and vector.do.startswith("err:")
    wanted = vector.do.removeprefix("err:") + "\r\n" if kept else vector.errors
    if seen.errors != wanted.encode("latin-1"):
        yield f"descriptor 2: wanted {wanted!r}, got {seen.errors!r}"


def _log(vector: Vector, seen: Seen) -> Iterator[str]:
    wanted = [line + "\n" for line in vector.log]
    matches = (pattern(line).fullmatch(got) for line, got in zip(wanted, seen.log, strict=False))
    if len(wanted) != len(seen.log) or not all(matches):
        yield f"log: wanted {wanted!r}, got {seen.log!r}"


def _exit(vector: Vector, seen: Seen) -> Iterator[str]:
    if vector.exit is not None and vector.exit != seen.exit:
        yield f"exit: wanted {vector.exit}, got {seen.exit}"


def _identity(_vector: Vector, seen: Seen) -> Iterator[str]:
    """Want one pid and one time, those of this very process, wherever they stand."""
    given = seen.notes.fd3.encode("latin-1") if seen.notes else b""
    stamps = set(_STAMP.findall(seen.out + given))
    pids = {pid for pid, _ in stamps} | {m[1] for line in seen.log if (m := _RECORD_PID.match(line))}
    if pids - {b"%d" % seen.pid}:
        yield f"pid: wanted {seen.pid}, got {pids}"
    times = {int(when) for _, when in stamps}
    if len(times) > 1 or any(not seen.began <= when <= time.time() for when in times):
        yield f"times: wanted one from {seen.began} on, got {times}"


def _control(vector: Vector, seen: Seen) -> Iterator[str]:
    wanted = b"Y" if any(word.startswith("tls") for word, *_ in vector.steps) else b""
    if wanted != seen.said:
        yield f"control socket: wanted {wanted!r}, got {seen.said!r}"
    if vector.behind_stls is not None and vector.behind_stls.encode("latin-1") != seen.left:
        yield f"left for the handshake: wanted {vector.behind_stls!r}, got {seen.left!r}"


def _subprogram(vector: Vector, seen: Seen) -> Iterator[str]:
    if (vector.fd3 is None) != (seen.notes is None):
        yield "the subprogram ran" if seen.notes else "the subprogram did not run"
    elif vector.fd3 is not None and seen.notes is not None:
        for check in (_given, _descriptors, _signals, _environment):
            yield from check(vector, seen.notes)


def _given(vector: Vector, notes: Notes) -> Iterator[str]:
    if not pattern(vector.fd3 or "").fullmatch(notes.fd3.encode("latin-1")):
        yield f"fd 3: wanted {vector.fd3!r}, got {notes.fd3!r}"
    if vector.rest is not None and vector.rest != notes.rest:
        yield f"left for the subprogram: wanted {vector.rest!r}, got {notes.rest!r}"
    if vector.sub_argv is not None and list(vector.sub_argv) != notes.argv:
        yield f"arguments: wanted {vector.sub_argv}, got {notes.argv}"


def _descriptors(vector: Vector, notes: Notes) -> Iterator[str]:
    """Want descriptors 0 to 3 and the log, and nothing that the popup opened for itself."""
    wanted = {0, 1, 2, 3} if vector.no_fd5 else {0, 1, 2, 3, 5}
    if set(vector.closed) & wanted or wanted != set(notes.fds):
        yield f"descriptors: wanted {sorted(wanted)}, got {notes.fds}"


def _signals(_vector: Vector, notes: Notes) -> Iterator[str]:
    if ignored := [number.name for number in _DEFAULTED if notes.ignored >> number - 1 & 1]:
        yield f"the subprogram inherited an ignored {', '.join(ignored)}"
    if notes.blocked:
        yield f"the subprogram inherited blocked signals, mask {notes.blocked:x}"


def _environment(vector: Vector, notes: Notes) -> Iterator[str]:
    entries = [entry.partition("=") for entry in notes.env]
    env = {name: value for name, _, value in entries}
    if len(env) != len(entries):
        yield f"a variable comes twice: {entries}"
    for name, value in vector.sub_env.items():
        if value != env.get(name):
            yield f"the subprogram's {name}: wanted {value!r}, got {env.get(name)!r}"


_CHECKS: tuple[Callable[[Vector, Seen], Iterator[str]], ...] = (
    _out,
    _errors,
    _log,
    _exit,
    _identity,
    _control,
    _subprogram,
)
