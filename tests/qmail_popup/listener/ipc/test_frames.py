"""The frames: what is packed is read back, and every cut of one is refused."""

import time

import pytest

from qmail_popup.listener.ipc.frames import LOGIN, BrokenFrameError, head, parse
from tests.support.stand_in import SLOT, login


def packed() -> bytes:
    """Return a good login as it travels."""
    frame = login()
    return head(frame) + frame.name + frame.secret


def test_a_frame_is_read_back() -> None:
    """All fields are what they were."""
    frame = login()
    data = head(frame) + frame.name + frame.secret
    assert frame == parse(memoryview(data), SLOT, time.monotonic_ns())
    assert (LOGIN, b"User") == (frame.kind, frame.method)


def test_every_cut_is_refused() -> None:
    """There is no length at which a part of a frame is one."""
    data = packed()
    for size in range(len(data)):
        with pytest.raises(BrokenFrameError):
            parse(memoryview(data)[:size], SLOT, time.monotonic_ns())


def test_a_number_that_a_process_may_have_is_refused() -> None:
    """A session's number must never be that of a process."""
    frame = login()._replace(number=SLOT)
    data = head(frame) + frame.name + frame.secret
    with pytest.raises(BrokenFrameError, match="not its own"):
        parse(memoryview(data), SLOT, time.monotonic_ns())


def test_the_secret_has_a_buffer_of_its_own() -> None:
    """What was received can be wiped, and so can the secret."""
    data = bytearray(packed())
    frame = parse(memoryview(data), SLOT, time.monotonic_ns())
    data[:] = bytes(len(data))
    assert bytearray(b"x") == frame.secret
