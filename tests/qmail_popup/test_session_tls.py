"""A session that speaks TLS, or would: what becomes of it, and what is known of it afterwards."""

import os
import socket
from collections.abc import Iterator

import pytest

from qmail_popup.descriptors import is_open
from qmail_popup.session import Session
from qmail_popup.settings import Settings
from qmail_popup.tls import Handshake
from tests.support import descriptors
from tests.support.child import Child, run
from tests.support.descriptors import Line, socket_line
from tests.support.popup import shell
from tests.support.session import LOGIN, Client, record, session

ANSWER = b"SSL_PROTOCOL=TLSv1.3\0SSL_CIPHER=C\0PATH=/nowhere\0\0"
TLS_NUMBERS = {"SSLCTLFD": "10", "SSLREADFD": "11", "SSLWRITEFD": "12"}


@pytest.fixture
def client() -> Iterator[Client]:
    """Return a client."""
    client = Client()
    yield client
    client.close()


@pytest.fixture
def server(client: Client) -> Iterator[tuple[Line, Line]]:
    """Return a TLS server's control socket, as a line, and its clear text; the client has its numbers."""
    control, far_control, spare = socket_line()
    clear, far_reader, far_writer = socket_line()
    descriptors.close({spare})
    client.fds |= {10: far_control, 11: far_reader, 12: far_writer}
    yield control, clear
    control.close()
    clear.close()


def test_stls(client: Client, server: tuple[Line, Line]) -> None:
    """Behind it the server's pipes are the network, the user is forgotten, the answer is handed on."""
    control, clear = server
    task = session(*shell("env"), UCSPITLS="", A="1", env=TLS_NUMBERS)
    with Child(task, client.fds) as child:
        client.hand_over()
        client.line.send(b"USER eve\r\nSTLS\r\n")
        assert b"+OK\r\n+OK \r\n+OK starting TLS negotiation\r\n" == client.line.receive_all()
        assert b"Y" == control.receive()
        control.send(ANSWER)
        clear.send(b"PASS x\r\n" + LOGIN)
        said = clear.receive_all().splitlines()
        known = child.result()
    assert [b"-ERR USER first", b"+OK "] == said[:2]
    assert {b"A=1", b"SSL_PROTOCOL=TLSv1.3", b"SSL_CIPHER=C"} <= {*said}
    assert not [
        line for line in said if line.startswith((b"PATH=/nowhere", b"SSLCTLFD", b"SSLREADFD", b"SSLWRITEFD"))
    ]
    assert record("Accept::AUTH::User", protocol="POP3S") == known.record
    assert ("accepted", b"POP3S", b"TLSv1.3") == (known.ended, known.protocol, known.tls_version)


def test_a_login_ahead_of_the_answer(client: Client, server: tuple[Line, Line]) -> None:
    """It goes on without the answer, and from then on SIGTERM waits."""
    control, clear = server
    task = session(*shell("echo $SSL_PROTOCOL; kill $PPID; exit 1"), UCSPITLS="", env=TLS_NUMBERS)
    with Child(task, client.fds) as child:
        client.hand_over()
        client.line.send(b"STLS\r\n")
        assert b"Y" == control.receive()
        clear.send(LOGIN)
        assert b"+OK \r\n\n-ERR authorization failed\r\n" == clear.receive_all()
        known = child.result()
    assert ("rejected", record("Reject::AUTH::User", protocol="POP3S")) == (known.ended, known.record)


def test_a_login_behind_a_failed_handshake(client: Client, server: tuple[Line, Line]) -> None:
    """The last look sees that it failed: no subprogram, no record."""
    control, clear = server
    task = session(UCSPITLS="", env=TLS_NUMBERS)
    clear.send(LOGIN)
    control.end()
    with Child(task, client.fds) as child:
        client.hand_over()
        client.line.send(b"STLS\r\n")
        known = child.result()
    assert ("tls_failed", b"", None) == (known.ended, known.record, known.status)


def test_a_secret_behind_a_failed_handshake_is_wiped(client: Client) -> None:
    """Nobody gets it, so nobody keeps it."""
    client.line.send(LOGIN)

    def task() -> tuple[str | None, bytes]:
        live = Session(Settings([b"h", b"/bin/true"], {}), {}, pid=7, clock=lambda: 0, log=None)
        assert live._command() is None  # noqa: SLF001  USER; the moment between
        ours, theirs = socket.socketpair()  # the line and the look is too short to be met from outside
        theirs.close()
        live._handshake = Handshake(ours.detach())  # noqa: SLF001
        return live._command(), bytes(live._state.credentials.secret)  # noqa: SLF001

    assert ("tls_failed", bytes(len(b"secret"))) == run(task, client.fds)


@pytest.mark.parametrize(("answer", "ended"), [(b"", "tls_failed"), (ANSWER, "disconnected")])
def test_a_client_that_leaves_over_tls(
    client: Client, server: tuple[Line, Line], answer: bytes, ended: str
) -> None:
    """Before the answer that is a failed handshake."""
    control, clear = server
    with Child(session(UCSPITLS="", env=TLS_NUMBERS), client.fds) as child:
        client.hand_over()
        client.line.send(b"STLS\r\n")
        assert b"Y" == control.receive()
        control.send(answer)
        clear.end()
        assert ended == child.result().ended


def test_a_server_that_does_not_answer_the_start(client: Client, server: tuple[Line, Line]) -> None:
    """A start command that cannot be written is a failure of our own."""
    control, _ = server
    control.close()
    said, known = client.say(b"STLS\r\n", session(UCSPITLS="", env=TLS_NUMBERS))
    assert [b"+OK starting TLS negotiation\r\n", b"-ERR TLS startup failed\r\n"] == said[1:]
    assert ("error", "control", b"POP3", []) == (known.ended, known.failure, known.protocol, client.records())


@pytest.mark.parametrize("environ", [TLS_NUMBERS, TLS_NUMBERS | {"UCSPITLS": "-"}, {"UCSPITLS": ""}], ids=str)
def test_tls_that_is_not_offered(client: Client, server: tuple[Line, Line], environ: dict[str, str]) -> None:
    """Without UCSPITLS, with `-` or without the numbers there is none; the numbers stay the popup's own."""
    assert server
    script = "for fd in 10 11 12; do if [ -e /proc/$$/fd/$fd ]; then echo $fd; fi; done"
    said, _ = client.say(b"STLS\r\n" + LOGIN, session(*shell(script), env=environ))
    assert b"-ERR STLS not available\r\n" == said[1]
    assert ([b"10\n", b"11\n", b"12\n"] if environ == {"UCSPITLS": ""} else []) == said[3:]


def test_descriptors_to_let_go(client: Client, server: tuple[Line, Line]) -> None:
    """Whoever waits for the popup's end waits for these: the network and what there is of TLS."""
    control, _ = server

    def task() -> tuple[set[int], set[int]]:
        environ = {name.encode(): value.encode() for name, value in (TLS_NUMBERS | {"UCSPITLS": ""}).items()}
        settings = Settings([b"h", b"/bin/true"], environ)
        live = Session(settings, environ, pid=7, clock=lambda: 0, log=5)
        before = live.descriptors()
        live.run()
        return before, {os.fstat(fd).st_ino for fd in live.descriptors()}

    with Child(task, client.fds) as child:
        nodes = {os.fstat(client.fds[number]).st_ino for number in (10, 11, 12)}
        client.hand_over()
        client.line.send(b"STLS\r\n")
        assert b"Y" == control.receive()
        control.send(b"\0")
        control.end()
        client.line.end()
        server[1].end()
        before, inodes = child.result()
    assert {0, 1, 10, 11, 12} == before
    assert nodes == inodes


def test_what_was_let_go_is_not_let_go_again(client: Client, server: tuple[Line, Line]) -> None:
    """Where the log was waited for: by the end the server's numbers may be somebody else's."""
    control, _ = server

    def task() -> tuple[set[int], list[int]]:
        environ = {name.encode(): value.encode() for name, value in (TLS_NUMBERS | {"UCSPITLS": ""}).items()}
        live = Session(Settings([b"h", b"/bin/true"], environ), environ, pid=7, clock=lambda: 0, log=5)
        live._hang_up()  # noqa: SLF001  from outside it takes a log that is full
        return live.descriptors(), [fd for fd in (0, 1, 10, 11, 12) if is_open(fd)]

    with Child(task, client.fds) as child:
        client.hand_over()
        assert b"" == control.receive()
        assert ({0, 1}, []) == child.result()


def test_numbers_that_name_nothing_are_not_let_go(client: Client) -> None:
    """What was not open at the start is not the server's: by the end it may be somebody else's descriptor."""

    def task() -> set[int]:
        settings = Settings([b"h", b"/bin/true"], {b"UCSPITLS": b"", b"SSLCTLFD": b"40", b"SSLREADFD": b"5"})
        return Session(settings, {}, pid=7, clock=lambda: 0, log=None).descriptors()

    assert {0, 1, 5} == run(task, client.fds)
