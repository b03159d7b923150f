"""Checks whether a subprogram can be found and run, without running it: what execvp(3) would do."""

import os
import stat

_DEFAULT_PATH = b"/bin:/usr/bin"  # the C library's default when PATH is unset
_HEAD = 256  # bytes: how much of a script's first line Linux reads
_MAX_DEPTH = 5  # nested interpreters; the limit in Linux


def find(program: bytes, path: bytes | None) -> tuple[bytes, str]:
    """Return the file that execvp(3) would run, and why it could not ("" if it can).

    path: the value of PATH, None if unset
    """
    if b"/" in program or not program:
        return program, why_not(program)
    denied = b"", "not found in PATH"
    for directory in (_DEFAULT_PATH if path is None else path).split(b":"):
        file = os.path.join(directory, program)
        problem = why_not(file)
        if not problem:
            return file, ""
        if os.path.lexists(file):  # the search goes on, but this file explains the failure
            denied = file, problem
    return denied


def why_not(file: bytes, depth: int = 0) -> str:
    """Return why the system cannot execute a file; "" if it can."""
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            return "not a file"
        if not os.access(file, os.X_OK, effective_ids=True):
            return "not executable"
        head = _head(file)
    except OSError as error:
        return os.strerror(error.errno or 0).lower()
    if head.startswith(b"#!"):
        return _why_no_interpreter(head, depth)
    return "" if head.startswith(b"\x7fELF") else "neither a binary nor a script that begins with #!"


def _head(file: bytes) -> bytes:
    """Return the first line, at most _HEAD bytes; an ELF header if the file is executable but unreadable."""
    try:
        with open(file, "rb") as opened:
            return opened.read(_HEAD).partition(b"\n")[0]
    except PermissionError:
        return b"\x7fELF"


def _why_no_interpreter(line: bytes, depth: int) -> str:
    words = line.removeprefix(b"#!").split(maxsplit=1)
    if not words or depth >= _MAX_DEPTH:
        return "a script without an interpreter"
    problem = why_not(words[0], depth + 1)
    return problem and f"its interpreter {os.fsdecode(words[0])}: {problem}"
