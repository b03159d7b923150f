"""Descriptor 5 as something that takes no record, or not now: the login is never the worse for it."""

import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import descriptors
from tests.support.popup import LOGIN, REFUSES, Popup
from tests.support.waiting import TIMEOUT

_SHORT = {"PATH": "/bin", "QMAIL_POPUP_TIMEOUT": "1"}
_TLS = {"PATH": "/bin", "UCSPITLS": "", "SSLCTLFD": "10", "SSLREADFD": "11", "SSLWRITEFD": "12"}
_REPLIES = b"+OK\r\n+OK \r\n"
_FAILED = _REPLIES + b"-ERR authorization failed\r\n"


@contextmanager
def _full_pipe(*, blocking: bool) -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    descriptors.fill(writer)
    os.set_blocking(writer, blocking)
    yield reader, writer
    descriptors.close({reader, writer})


def _empty(reader: int) -> bytes:
    """Take all that was filled in, and return what is behind it."""
    os.set_blocking(reader, False)
    taken = b""
    while b"\n" not in taken:
        try:
            taken += os.read(reader, 65536)
        except BlockingIOError:
            os.set_blocking(reader, True)  # what is to come will come
    return taken.lstrip(b"x")


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_a_full_pipe_that_is_emptied_gets_the_record_whole_and_once(
    popup: list[str], *, blocking: bool
) -> None:
    """The client has its end of file long before: it does not wait for a log."""
    with _full_pipe(blocking=blocking) as (reader, writer), Popup(popup, REFUSES, fds={5: writer}) as running:
        assert _FAILED == running.talk(LOGIN)
        assert running.process.poll() is None
        assert running.record("Reject") == _empty(reader)
        assert 1 == running.status()
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
        assert blocking == os.get_blocking(writer)


def test_a_full_pipe_holds_up_no_tls_server(popup: list[str]) -> None:
    """It waits for the end of its own pipes: no copy of them may stay open while the log is waited for."""
    control, far_control = socket.socketpair()
    secure, *pipes = descriptors.pipe_line()
    with control, far_control, _full_pipe(blocking=True) as (reader, writer):
        fds = {10: far_control.fileno(), 11: pipes[0], 12: pipes[1], 5: writer}
        with Popup(popup, REFUSES, env=_TLS, fds=fds) as running:
            descriptors.close(pipes)
            running.line.send(b"STLS\r\n")
            assert b"Y" == control.recv(1)
            control.sendall(b"\0")
            secure.send(LOGIN)
            assert b"+OK \r\n-ERR authorization failed\r\n" == secure.receive_all()
            assert running.process.poll() is None
            assert running.record("Reject", protocol="POP3S") == _empty(reader)
    secure.close()


@pytest.mark.parametrize("env", [_TLS, {**_TLS, "UCSPITLS": "!"}], ids=["a login in clear", "none allowed"])
def test_a_full_pipe_holds_up_no_client_in_clear_of_a_tls_server(
    popup: list[str], env: dict[str, str]
) -> None:
    """The server keeps the client's socket until the last copy of its control socket is closed."""
    control, far_control = socket.socketpair()
    secure, *pipes = descriptors.pipe_line()
    with control, far_control, _full_pipe(blocking=True) as (reader, writer):
        fds = {10: far_control.fileno(), 11: pipes[0], 12: pipes[1], 5: writer}
        with Popup(popup, REFUSES, env=env, fds=fds) as running:
            far_control.close()
            descriptors.close(pipes)
            control.settimeout(TIMEOUT)
            running.talk(LOGIN)
            assert (b"", b"") == (control.recv(1), secure.receive_all())
            os.close(writer)
            with open(reader, "rb", closefd=False) as log:
                assert b"Reject" in log.read()  # so it was still waiting
            assert 1 == running.status()
    secure.close()


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_a_full_pipe_that_stays_full_is_given_up(popup: list[str], *, blocking: bool) -> None:
    """After the idle timeout, where that is shorter than 30 seconds; the status is the login's."""
    with _full_pipe(blocking=blocking) as (_, writer), Popup(popup, fds={5: writer}, env=_SHORT) as running:
        assert _REPLIES == running.talk(LOGIN)
        assert (0, b"") == (running.status(), running.errors())
        assert blocking == os.get_blocking(writer)


def test_a_pipe_that_nobody_reads_any_more_is_ignored(popup: list[str]) -> None:
    """No signal, no word, and the login's own status."""
    reader, writer = os.pipe()
    os.close(reader)
    _expect_nothing(popup, writer)


@pytest.mark.parametrize(("path", "flags"), [("/dev/full", os.O_WRONLY), ("/dev/null", os.O_RDONLY)])
def test_a_file_that_takes_nothing_is_ignored(popup: list[str], path: str, flags: int) -> None:
    """A disk that is full, and a descriptor that cannot be written to."""
    _expect_nothing(popup, os.open(path, flags))


def _expect_nothing(popup: list[str], log: int) -> None:
    with Popup(popup, fds={5: log}) as running:
        os.close(log)
        assert _REPLIES == running.talk(LOGIN)
        assert (0, b"") == (running.status(), running.errors())


def test_a_file_that_may_not_grow_is_ignored(popup: list[str], tmp_path: Path) -> None:
    """A limit on the size of files ends in a signal, which must not end the login."""
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    limit = (resource.RLIMIT_FSIZE, (0, 0))
    with Popup(popup, fds={5: log}, prepare=lambda: resource.setrlimit(*limit)) as running:
        os.close(log)
        assert _REPLIES == running.talk(LOGIN)
        assert (0, b"") == (running.status(), running.errors())


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_takes_the_record(popup: list[str], kind: socket.SocketKind) -> None:
    """A logger may listen there; a datagram is one record."""
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    with near, Popup(popup, fds={5: far.fileno()}) as running:
        far.close()
        running.talk(LOGIN)
        assert 0 == running.status()
        assert running.record("Accept") == near.recv(65536)


def test_a_file_is_appended_to(popup: list[str], tmp_path: Path) -> None:
    """What the file held stays, and what was opened for appending is appended to."""
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    log = os.open(path, os.O_WRONLY | os.O_APPEND)
    with Popup(popup, fds={5: log}) as running:
        running.talk(LOGIN)
        assert 0 == running.status()
        assert b"before\n" + running.record("Accept") == path.read_bytes()
        assert os.O_WRONLY | os.O_APPEND == fcntl.fcntl(log, fcntl.F_GETFL) & (
            os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK
        )
    os.close(log)


def test_the_log_may_be_the_server_s_own_descriptor_2(popup: list[str], tmp_path: Path) -> None:
    """As in `5>&2`: one file under both numbers."""
    path = tmp_path / "log"
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with Popup(popup, REFUSES, fds={2: log, 5: log}) as running:
        os.close(log)
        assert _FAILED == running.talk(LOGIN)
        assert 1 == running.status()
        assert running.record("Reject") == path.read_bytes()
