"""The socket: what it withstands, whoever sends it and however many there are."""

import os
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from observability.arrivals.connection import ACKNOWLEDGEMENT
from observability.arrivals.connections import STRANGER_SECONDS, Intake
from observability.arrivals.listener import BACKLOG
from observability.arrivals.parsing import KILLED, SOCKET, Arrival
from observability.event import LIMIT, build
from tests.support.arrivals import Clock, reasons
from tests.support.intakes import ENOUGH, is_silent, listening, serving, settled
from tests.support.sidecar import connect, fields, hello_of


def test_a_block_may_not_go_on_for_ever(intake: Intake, path: Path) -> None:
    """As long as it can still end in time it is waited for, and not a byte longer."""
    with connect(path, b"x" * (LIMIT - 1)) as peer:
        assert [] == settled(intake)
        peer.sendall(b"x")
        assert ["too long"] == reasons(settled(intake))
        intake.acknowledge()


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("sent", [b"", b"V=1\0"])
def test_a_stranger_is_dismissed_and_a_session_is_not(
    intake: Intake, path: Path, clock: Clock, sent: bytes, late: float
) -> None:
    """Who says no hello in time is closed; who did may be silent for days."""
    with connect(path, sent) as stranger, connect(path, hello_of(fields())) as popup:
        settled(intake)
        clock.now += STRANGER_SECONDS - 1
        assert [] == settled(intake)
        clock.now += 1 + late
        assert ["too slow"] * bool(sent) == reasons(settled(intake))
        assert b"" == stranger.recv(1)
        clock.now += 10 * 86400
        assert [] == settled(intake)
        assert 1 == intake.active
        assert is_silent(popup)


@pytest.mark.parametrize("most", [3, 300])
def test_more_connections_than_allowed_wait_for_a_place(path: Path, clock: Clock, most: int) -> None:
    """They park in the backlog, and are served as soon as one is free."""
    with serving(listening(path), clock, most) as intake, ExitStack() as stack:
        popups = [stack.enter_context(connect(path, hello_of(fields()))) for _ in range(most + 2)]
        settled(intake)
        assert most == intake.active
        popups[0].close()
        popups[1].close()
        killed: list[Arrival] = []
        while len(killed) < 2:
            clock.now += 1
            killed += intake.arrivals(ENOUGH)
        clock.now += 1
        settled(intake)
        assert most == intake.active


def test_a_connection_that_breaks_is_one_that_ends(clock: Clock) -> None:
    """No popup can break a Unix socket, so one of TCP stands in for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    with serving(listener, clock) as intake:
        with socket.create_connection(listener.getsockname()) as popup:
            popup.sendall(hello_of(fields()))
            while not intake.active:
                assert [] == intake.arrivals(ENOUGH)
            # So that its end is a reset: socket(7).
            popup.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert [KILLED] == reasons(intake.arrivals(ENOUGH))


def test_running_out_of_descriptors_is_waited_for(intake: Intake, path: Path, clock: Clock) -> None:
    """An accept that fails is tried again a little later, without a busy loop."""
    with connect(path, build(fields())):
        with allowed(lowest_free()):
            assert [] == intake.arrivals(ENOUGH)
            began = time.monotonic()
            assert [] == intake.arrivals(60)
            assert intake.is_idle
            assert time.monotonic() - began < 30
        clock.now += 1
        assert [SOCKET] == reasons(intake.arrivals(ENOUGH))
        intake.acknowledge()


def lowest_free() -> int:
    """Return the number that the next descriptor would have."""
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


@contextmanager
def allowed(descriptors: int) -> Iterator[None]:
    """Have descriptors up to that number be allowed meanwhile, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < descriptors:
        pytest.skip(f"{hard} descriptors are allowed, {descriptors} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_after_the_end_who_was_parked_is_still_served(intake: Intake, path: Path) -> None:
    """What was sent before is taken, and acknowledged no sooner than it can have been committed."""
    with connect(path, build(fields())) as popup:
        intake.stop_listening()
        with pytest.raises(ConnectionRefusedError):
            connect(path)
        assert not intake.is_idle
        intake.acknowledge()
        assert is_silent(popup)
        assert [SOCKET] == reasons(intake.arrivals(0))
        intake.acknowledge()
        assert ACKNOWLEDGEMENT == popup.recv(1)


def test_all_who_are_parked_at_the_end_are_served(path: Path, clock: Clock) -> None:
    """As many as the backlog holds, which on Linux is one more than it was asked for."""
    parked = min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text())) + 1
    with (
        allowed(lowest_free() + 2 * parked + 100),
        serving(listening(path), clock, 2 * parked) as intake,
        ExitStack() as stack,
    ):
        for _ in range(parked):
            stack.enter_context(connect(path, build(fields())))
        intake.stop_listening()
        assert parked == len(settled(intake))


def test_another_socket_takes_over(intake: Intake, path: Path) -> None:
    """Who has connected stays, who is parked at the old one is served, and the new one is served too."""
    told = [fields() for _ in range(3)]
    with connect(path, hello_of(told[0])) as connected:
        settled(intake)  # so its descriptor is below the new socket's, and that of who is parked above
        with connect(path, hello_of(told[1])) as parked:
            path.unlink()
            intake.move(listening(path))
            with connect(path, hello_of(told[2])) as new:
                settled(intake)
                assert 3 == intake.active
                for popup, event in zip((connected, parked, new), told, strict=True):
                    popup.sendall(build(event))
                    assert [SOCKET] == reasons(intake.arrivals(ENOUGH))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.binary(max_size=200), st.just(b"\0\0"), st.just(build(fields()))), max_size=6))
def test_whatever_is_sent_the_next_one_is_served(tmp_path: Path, sent: list[bytes]) -> None:
    """Bytes of any kind, then the end: nothing raises, and nothing is left behind."""
    path = tmp_path / "socket"
    path.unlink(missing_ok=True)  # of the example before
    with serving(listening(path), Clock()) as intake:
        with connect(path) as hostile:
            hostile.sendall(b"".join(sent))
        settled(intake)
        intake.acknowledge()
        with connect(path, build(fields())) as popup:
            assert [SOCKET] == reasons(settled(intake))
            intake.acknowledge()
            assert ACKNOWLEDGEMENT == popup.recv(1)
