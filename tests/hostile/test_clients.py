"""Clients that do not read, do not hurry, or are not there any more."""

import fcntl
import os
import resource
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import descriptors
from tests.support.descriptors import pipe_line
from tests.support.popup import LOGIN, REFUSES, Popup, shell
from tests.support.waiting import until

_GREETING = b"+OK\r\n"
_CAPA = b"+OK capability list follows\r\nTOP\r\nUSER\r\nUIDL\r\n.\r\n"
_ONE_SECOND = {"PATH": "/bin", "QMAIL_POPUP_TIMEOUT": "1"}


def _send_until_it_ends(running: Popup, said: bytes) -> int | None:
    """Send without ever reading, for as long as the popup lives."""
    os.set_blocking(running.line.writer, False)

    def has_ended() -> bool:
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while running.process.poll() is None:
                os.write(running.line.writer, said)
        return running.process.poll() is not None

    until(has_ended)
    return running.status()


def test_a_client_that_never_reads_is_dropped(popup: list[str]) -> None:
    """The idle timeout holds for a write as for a read: no reply, no record, status 1."""
    with Popup(popup, env=_ONE_SECOND) as running:
        assert 1 == _send_until_it_ends(running, b"CAPA\r\n" * 100)
        assert ([], b"") == (running.records(), running.errors())
        with suppress(ConnectionResetError):
            assert set(_GREETING + _CAPA) >= set(running.line.receive_all())


def test_a_client_that_never_reads_its_pipe_is_dropped(popup: list[str]) -> None:
    """A pipe of one page, so that it is full soon; each reply that went into it went whole."""
    line, reader, writer = pipe_line()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with Popup(popup, env=_ONE_SECOND, fds={0: reader, 1: writer}) as running:
        descriptors.close({reader, writer})
        line.send(b"CAPA\r\n" * 1000)
        assert 1 == running.status()
        assert ([], b"") == (running.records(), running.errors())
        said = line.receive_all()
        assert b"" == said.removeprefix(_GREETING).replace(_CAPA, b"")
    line.close()


def test_a_client_that_never_reads_still_gets_its_record(popup: list[str]) -> None:
    """The refusal finds no room; who was refused is known anyway, within the timeout."""
    line, reader, writer = pipe_line()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    fill = shell("dd if=/dev/zero bs=4096 count=1 2>/dev/null; exit 1")
    with Popup(popup, fill, env=_ONE_SECOND, fds={0: reader, 1: writer}) as running:
        descriptors.close({reader, writer})
        line.send(LOGIN)
        assert [_GREETING, b"+OK \r\n"] == [line.receive_line(), line.receive_line()]
        assert 1 == running.status()
        assert [running.record("Reject")] == running.records()
        assert b"\0" * 4096 == line.receive_all()
    line.close()


@pytest.mark.parametrize("said", [b"", b"NOOP\r\n", b"USER bob\r\nPASS", b"USER bob\r\n" * 500], ids=len)
def test_a_client_that_is_gone_leaves_nothing(popup: list[str], said: bytes) -> None:
    """Whatever it said last, and whether or not replies are still on their way to it."""
    with Popup(popup) as running:
        running.line.send(said)
        running.line.close()
        assert 1 == running.status()
        assert ([], b"") == (running.records(), running.errors())


def test_a_goodbye_that_nobody_hears_is_no_goodbye(popup: list[str]) -> None:
    """QUIT ends with 0 only where its reply has found a reader."""
    line, reader, writer = pipe_line()
    with Popup(popup, fds={0: reader, 1: writer}) as running:
        descriptors.close({reader, writer})
        assert _GREETING == line.receive_line()
        descriptors.close({line.reader})
        line.send(b"QUIT\r\n")
        assert (1, [], b"") == (running.status(), running.records(), running.errors())
    line.close()


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_a_network_that_cannot_be_read_is_an_end(popup: list[str], flags: int) -> None:
    """The null device is an end of input; where it may only be written, reading it is an error."""
    nothing = os.open("/dev/null", flags)
    with Popup(popup, fds={0: nothing}) as running:
        os.close(nothing)
        assert _GREETING == running.line.receive_all()
        assert (1, [], b"") == (running.status(), running.records(), running.errors())


def test_a_network_that_cannot_be_written_is_an_end(popup: list[str]) -> None:
    """Without its greeting no session begins."""
    full = os.open("/dev/full", os.O_WRONLY)
    with Popup(popup, fds={1: full}) as running:
        os.close(full)
        with suppress(BrokenPipeError):  # it may have ended already
            running.line.send(LOGIN)
        assert (1, [], b"") == (running.status(), running.records(), running.errors())


def test_a_reply_that_went_out_in_part_was_not_sent(popup: list[str], tmp_path: Path) -> None:
    """The file takes seven bytes: the greeting, and two of the goodbye, which is then none."""
    heard = os.open(tmp_path / "heard", os.O_WRONLY | os.O_CREAT)
    limit = (resource.RLIMIT_FSIZE, (7, 7))
    with Popup(popup, fds={1: heard}, prepare=lambda: resource.setrlimit(*limit)) as running:
        os.close(heard)
        running.line.send(b"QUIT\r\n")
        assert 1 == running.status()
    assert _GREETING + b"+O" == (tmp_path / "heard").read_bytes()


def test_a_reply_that_goes_out_in_pieces_arrives_whole(popup: list[str]) -> None:
    """No reply is longer than a pipe takes at once, but a greeting with a hostname that no host ever had."""
    line, reader, writer = pipe_line()
    os.set_blocking(writer, False)
    env, host = {"PATH": "/bin", "POP3AUTH": "apop"}, "h" * 100_000
    with Popup(popup, host=host, env=env, fds={0: reader, 1: writer}) as running:
        descriptors.close({reader, writer})
        line.send(b"QUIT\r\n")
        greeting, goodbye = line.receive_all().splitlines()
        assert 0 == running.status()
    assert (b"+OK <%d" % running.process.pid, b"%s>" % host.encode()) == _ends(greeting)
    assert b"+OK " == goodbye
    line.close()


def _ends(greeting: bytes) -> tuple[bytes, bytes]:
    """Return what is before the timestamp's time, and what is behind it."""
    before, _, behind = greeting.partition(b".")
    return before, behind.partition(b"@")[2]


def test_a_file_may_stand_in_for_the_network(popup: list[str], tmp_path: Path) -> None:
    """A transcript is served as a client is, and what is behind PASS is still unread for the subprogram."""
    (tmp_path / "said").write_bytes(LOGIN + b"STAT\r\n")
    said, heard = (
        os.open(tmp_path / "said", os.O_RDONLY),
        os.open(tmp_path / "heard", os.O_WRONLY | os.O_CREAT),
    )
    with Popup(popup, shell("cat; exit 3"), fds={0: said, 1: heard}) as running:
        descriptors.close({said, heard})
        assert 1 == running.status()
        assert [running.record("Reject")] == running.records()
    replies = _GREETING + b"+OK \r\nSTAT\r\n-ERR authorization failed\r\n"
    assert replies == (tmp_path / "heard").read_bytes()


def test_a_client_that_resets_its_connection_leaves_nothing(popup: list[str]) -> None:
    """A reset shows as an error on descriptor 0: that is an end as any other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    with served, Popup(popup, fds={0: served.fileno(), 1: served.fileno()}) as running:
        assert _GREETING == client.recv(100)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        assert 1 == running.status()
        assert ([], b"") == (running.records(), running.errors())


def test_a_client_that_is_gone_while_it_is_refused_leaves_a_record(popup: list[str]) -> None:
    """The record comes after the reply, also where nobody is there to get that."""
    with Popup(popup, shell("cat; exit 1")) as running:
        running.line.send(LOGIN)
        assert _GREETING == running.line.receive_line()
        assert b"+OK \r\n" == running.line.receive_line()
        running.line.close()
        assert 1 == running.status()
        assert ([running.record("Reject")], b"") == (running.records(), running.errors())


def test_a_slow_client_is_not_an_idle_one(popup: list[str]) -> None:
    """Each byte starts the timeout again: a login that takes longer than it is served."""
    with Popup(popup, REFUSES, env={"PATH": "/bin", "QMAIL_POPUP_TIMEOUT": "3"}) as running:
        for byte in b"NOOP\r\n":
            running.line.send(bytes([byte]))
            time.sleep(0.6)
        running.line.send(LOGIN)
        running.line.end()
        assert _GREETING + b"+OK \r\n" * 2 + b"-ERR authorization failed\r\n" == running.line.receive_all()
        assert [running.record("Reject")] == running.records()


def test_a_session_byte_by_byte_is_the_same_session(popup: list[str]) -> None:
    """Nothing depends on how the network cuts what the client says."""
    with Popup(popup, shell("tr '\\0' '\\n' <&3; cat")) as running:
        for byte in LOGIN + b"STAT\r\n":
            running.line.send(bytes([byte]))
        running.line.end()
        said = running.line.receive_all().splitlines()
        assert [b"+OK", b"+OK ", b"bob", b"secret"] == said[:4]
        assert [b"STAT"] == said[5:]


def test_a_line_that_never_ends_takes_no_memory(popup: list[str]) -> None:
    """Of nearly 1 MiB that belongs to one line no more is kept than of the longest that counts."""
    with Popup(popup) as running:
        assert _GREETING == running.line.receive_line()
        before = _resident(running.process.pid)
        for _ in range(15):
            running.line.send(b"n" * 65536)
        assert _resident(running.process.pid) - before < 1 << 18
        running.line.send(b"\nQUIT\n")
        assert b"-ERR line too long\r\n+OK \r\n" == running.line.receive_all()
        assert 0 == running.status()


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
