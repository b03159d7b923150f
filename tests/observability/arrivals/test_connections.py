"""The socket: what comes in, and what becomes of it."""

import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from observability.arrivals.connection import ACKNOWLEDGEMENT
from observability.arrivals.connections import Intake
from observability.arrivals.parsing import KILLED, SOCKET
from observability.event import LIMIT, build
from tests.support.arrivals import Clock, identities, reasons
from tests.support.intakes import ENOUGH, is_silent, listening, serving, settled
from tests.support.sidecar import connect, fields, hello_of


def test_at_first_it_has_an_address_and_nobody(intake: Intake, path: Path) -> None:
    """It says where popups connect, and that nothing was there yet."""
    assert (str(path), 0, True) == (intake.address, intake.active, intake.is_idle)


def test_an_event_arrives_and_is_acknowledged_when_that_is_due(intake: Intake, path: Path) -> None:
    """Not a byte goes out before its commit, then one, and the end."""
    told = fields()
    with connect(path, build(told)) as popup:
        assert [bytes.fromhex(told[b"TRACE"].decode())] == identities(intake.arrivals(ENOUGH))
        assert is_silent(popup)
        intake.acknowledge()
        assert ACKNOWLEDGEMENT == popup.recv(2)
        assert b"" == popup.recv(1)


def test_a_session_is_active_from_its_hello_to_its_event(intake: Intake, path: Path) -> None:
    """A connection that said nothing is none."""
    told = fields()
    with connect(path) as popup:
        assert [] == settled(intake)
        assert 0 == intake.active
        popup.sendall(hello_of(told))
        assert [] == settled(intake)
        assert 1 == intake.active
        popup.sendall(build(told))
        assert [SOCKET] == reasons(intake.arrivals(ENOUGH))
        assert 0 == intake.active


def test_a_session_that_ends_without_an_event_was_killed(intake: Intake, path: Path) -> None:
    """Its hello says who that was."""
    told = fields()
    with connect(path, hello_of(told)):
        assert [] == settled(intake)
    arrivals = settled(intake)
    assert [KILLED] == reasons(arrivals)
    assert [bytes.fromhex(told[b"TRACE"].decode())] == identities(arrivals)
    assert 0 == intake.active


def test_an_event_that_was_read_late_is_no_kill(intake: Intake, path: Path) -> None:
    """A popup that did not wait for the acknowledgement has sent its event anyway."""
    told = fields()
    with connect(path, hello_of(told), build(told)):
        pass
    assert [SOCKET] == reasons(settled(intake))
    intake.acknowledge()


def test_who_has_brought_its_event_is_not_looked_at_again(intake: Intake, path: Path) -> None:
    """Whatever it still sends, nothing is there for as long as its acknowledgement is due."""
    told = fields()
    with connect(path, hello_of(told)) as popup:
        settled(intake)
        popup.sendall(build(told))
        assert [SOCKET] == reasons(intake.arrivals(ENOUGH))
        popup.sendall(build(told))
        assert [] == intake.arrivals(0)
        assert intake.is_idle
        intake.acknowledge()


def test_an_event_may_come_in_any_pieces(intake: Intake, path: Path) -> None:
    """Byte by byte, over both blocks, it is one session."""
    told = fields()
    arrivals = []
    with connect(path) as popup:
        for byte in hello_of(told) + build(told):
            popup.sendall(bytes([byte]))
            arrivals += intake.arrivals(ENOUGH)
    assert [SOCKET] == reasons(arrivals)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\0\0", "torn"),
        (b"garbage\0\0", "torn"),
        (b"x" * (2 * LIMIT), "too long"),
        (b"V=1\0PROTOCOL=POP3\0END=1\0\0", "a missing identity or protocol"),
        (hello_of(fields()) + hello_of(fields()), "an identity other than the hello's"),
        (hello_of(fields()) + build(fields()), "an identity other than the hello's"),
        (2 * hello_of(fields()), "a second hello"),
        (hello_of(fields()) + b"END=1\0\0", "a missing or unknown version"),
    ],
)
def test_what_makes_no_sense_is_counted_and_sent_away(
    intake: Intake, path: Path, sent: bytes, reason: str
) -> None:
    """It is acknowledged too, or it would come again by the spool; and no session was killed."""
    with connect(path, sent) as peer:
        assert [reason] == reasons(intake.arrivals(ENOUGH))
        intake.acknowledge()
        assert ACKNOWLEDGEMENT == peer.recv(1)
    assert [] == settled(intake)


def test_a_torn_event_is_counted_and_its_session_was_killed(intake: Intake, path: Path) -> None:
    """Half an event is malformed, and no end of a session."""
    told = fields()
    with connect(path, hello_of(told), build(told)[:100]):
        pass
    assert ["torn", KILLED] == reasons(settled(intake))


def test_a_connection_that_says_nothing_counts_nothing(intake: Intake, path: Path) -> None:
    """Connected and gone, it was no session."""
    with connect(path):
        pass
    assert [] == settled(intake)


def test_a_word_from_outside_ends_the_wait(path: Path, clock: Clock) -> None:
    """Or a signal would be noticed only when somebody connects."""
    wake, stop = socket.socketpair()
    with wake, stop, closing(Intake(listening(path), wake.fileno(), clock)) as intake:
        stop.sendall(b"!")
        began = time.monotonic()
        assert [] == intake.arrivals(60)
        assert time.monotonic() - began < 30


def test_a_socket_that_others_keep_open_is_left_alone_once_it_is_closed(path: Path, clock: Clock) -> None:
    """A service manager holds it over a restart: who connects then is for the next one, and wakes nobody."""
    listener = listening(path)
    with listener.dup(), serving(listener, clock) as intake:
        intake.stop_listening()
        assert [] == settled(intake)
        with connect(path):
            assert [] == intake.arrivals(0)
            assert intake.is_idle
