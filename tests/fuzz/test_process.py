"""The same rules against the popup as a process: fewer streams, since each costs a start."""

import os
import resource
import sys
from pathlib import Path

import pytest
from hypothesis import given

from tests.fuzz.streams import cut, cuts, streams
from tests.support.chance import examples
from tests.support.popup import Popup, shell

POPUP = [sys.executable, "-S", "-m", "qmail_popup"]
MEMORY_MOST = 64_000_000  # what a run script allows


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file where the subprogram notes what it was handed."""
    return tmp_path_factory.mktemp("fuzz") / "handed"


def limited() -> None:
    """Let it have as much memory as a run script does."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MOST, MEMORY_MOST))


def said_and_left(pieces: list[bytes], handed: Path) -> tuple[bytes, int | None, list[bytes]]:
    """Say `pieces` to a popup; what it says, its status and its records without their pid."""
    handed.write_bytes(b"")
    env = {"PATH": os.defpath, "POP3AUTH": "apop", "HANDED": str(handed)}
    with Popup(POPUP, shell("cat <&3 >$HANDED; exit 1"), env=env, prepare=limited) as popup:
        try:
            for piece in pieces:
                popup.line.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the session is over
        popup.line.end()
        replies = popup.line.receive_all()
        status, records = popup.status(), popup.records()
        assert b"" == popup.errors()
        pid = b"%d" % popup.process.pid
    return replies.split(b"\r\n", 1)[1], status, [line.replace(pid, b"PID", 1) for line in records]


@examples(10)
@given(streams, cuts)
def test_a_process(handed: Path, stream: bytes, where: list[int]) -> None:
    """It says and leaves the same whole and cut anywhere, and hands nothing over that is not complete."""
    replies, status, records = said_and_left([stream], handed)
    given_whole = handed.read_bytes()
    assert (replies, status, records) == said_and_left(cut(stream, where), handed)
    assert given_whole.split(b"\0")[:2] == handed.read_bytes().split(b"\0")[:2]
    assert bool(given_whole) == bool(records)
    assert replies.endswith(b"\r\n") or not replies
    if given_whole:
        assert all(given_whole.split(b"\0")[:3])


@pytest.mark.parametrize("filler", [b"x", b"\0", b"PASS ", b"\r"])
def test_a_line_that_never_ends(filler: bytes, handed: Path) -> None:
    """A megabyte without a line's end is no command, and takes no memory."""
    assert (b"", 1, []) == said_and_left([filler * (1_000_000 // len(filler))], handed)
