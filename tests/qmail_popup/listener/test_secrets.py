"""The password is in the subprogram, and in no process of the listener's."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.qmail_popup.listener.conftest import Certified
from tests.support import secure
from tests.support.programs import need_root
from tests.support.resident import Listener, read_all, read_line

_SECRET = b"correct-horse-4711-battery-staple"
_WRITABLE = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) rw", re.MULTILINE)
_WAITS = ("/bin/sh", "-c", "cat <&3 >/dev/null; echo here; cat")


def memory(pid: int) -> Iterator[bytes]:
    """Yield all that a process can have written to, region by region."""
    maps = Path(f"/proc/{pid}/maps").read_bytes()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for start, end in _WRITABLE.findall(maps):
            file.seek(int(start, 16))
            with suppress(OSError):
                yield file.read(int(end, 16) - int(start, 16))


@pytest.mark.parametrize(
    "said",
    [
        b"USER bob\r\nPASS " + _SECRET + b"\r\n",
        b"USER bob\r\nPASS " + _SECRET * 100 + b"\r\n",
        b"APOP bob " + _SECRET + b"\r\n",
        b"PASS " + _SECRET + b"\r\nUSER bob\r\nPASS x\r\n",
        b"PAS " + _SECRET + b"\r\nUSER bob\r\nPASS x\r\n",
    ],
    ids=["PASS", "a long PASS", "APOP", "PASS without USER", "no verb"],
)
@pytest.mark.parametrize("pieces", [1, 2], ids=["whole", "in pieces"])
def test_the_secret_is_gone_once_it_is_handed_over(said: bytes, pieces: int, tmp_path: Path) -> None:
    """While the mail is served it is neither in a worker nor in the spawner."""
    need_root()
    with (
        Listener(tmp_path, "--workers", "1", subprogram=_WAITS, env={"POP3AUTH": "apop"}) as listener,
        listener.connect() as peer,
    ):
        read_line(peer)
        half = said.index(_SECRET) + len(_SECRET) - 3 if pieces > 1 else len(said)
        peer.sendall(said[:half])
        if pieces > 1:
            peer.sendall(b"")
            _settle(listener)
            peer.sendall(said[half:])
        while read_line(peer) != b"here\n":
            pass
        for pid in (listener.spawner(), *listener.workers()):
            regions = list(memory(pid))
            assert any(b"pop.example.org" in region for region in regions)
            assert not any(_SECRET[:-4] in region for region in regions)


def _settle(listener: Listener) -> None:
    """Have the worker see what was sent by now: it answers another client behind it."""
    listener.talk(b"NOOP\r\n")


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b""], ids=["good", "missing"])
def test_a_secret_behind_a_proxy_header(header: bytes, tmp_path: Path) -> None:
    """It may arrive together with the header, or where the header should have been."""
    need_root()
    options = ("--workers", "1", "--proxy-protocol", "127.0.0.1")
    with (
        Listener(tmp_path, *options, subprogram=_WAITS) as listener,
        listener.connect() as peer,
    ):
        peer.sendall(header + b"USER bob\r\nPASS " + _SECRET + b"\r\n")
        with suppress(ConnectionError):
            while read_line(peer) not in (b"here\n", b""):
                pass
        for pid in (listener.spawner(), *listener.workers()):
            assert not any(_SECRET[:-4] in region for region in memory(pid))


def test_a_secret_that_waits_is_gone_with_its_login(tmp_path: Path) -> None:
    """Where a login had to wait for a place, nothing is left of it afterwards either."""
    need_root()
    options = ("--workers", "1", "--sessions", "1")
    with (
        Listener(tmp_path, *options, subprogram=_WAITS) as listener,
        listener.connect() as first,
        listener.connect() as second,
    ):
        first.sendall(b"USER bob\r\nPASS x\r\n")
        while read_line(first) != b"here\n":
            pass
        second.sendall(b"USER bob\r\nPASS " + _SECRET + b"\r\n")
        read_line(second)
        first.shutdown(1)
        while read_line(second) != b"here\n":
            pass
        assert not any(_SECRET in region for region in memory(listener.spawner()))


@pytest.mark.parametrize("connect", [secure.pop3s, secure.stls], ids=["pop3s", "stls"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_secret_that_came_over_tls(
    connect: secure.Connect, newest: ssl.TLSVersion, tmp_path: Path, certified: Certified
) -> None:
    """OpenSSL wipes it once it has handed it over, though the worker goes on with the session."""
    need_root()
    context = certified.issuer.trusted()
    context.maximum_version = newest
    with (
        Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_WAITS) as listener,
        connect(listener, context) as client,
    ):
        client.sendall(b"USER bob\r\nPASS " + _SECRET * 100 + b"\r\n")
        while read_line(client) != b"here\n":
            pass
        for pid in (listener.spawner(), *listener.workers()):
            assert not any(_SECRET[:-4] in region for region in memory(pid))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"USER bob\r\nPA", b"SS " + _SECRET[:10], _SECRET[10:] + _SECRET * 30 + b"\r\n"],
        [b"USER bob\r\n" * 1000, b"PASS " + _SECRET * 10 + b"\r\n"],
        [b"PASS " + _SECRET * 50, _SECRET * 50 + b"\r\n", b"USER bob\r\nPASS x\r\n"],
    ],
    ids=["a line", "behind many", "without USER"],
)
def test_a_secret_that_comes_in_several_records(
    pieces: list[bytes], tmp_path: Path, certified: Certified
) -> None:
    """However its line is put together, no copy of it stays."""
    need_root()
    with (
        Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_WAITS) as listener,
        secure.pop3s(listener, certified.issuer.trusted()) as client,
    ):
        for piece in pieces:
            client.tls.write(piece)
        client.bare.sendall(client.unsent())
        while read_line(client) != b"here\n":
            pass
        for pid in (listener.spawner(), *listener.workers()):
            assert not any(_SECRET[:-4] in region for region in memory(pid))


@pytest.mark.parametrize("connect", [secure.bare, secure.asking], ids=["pop3s", "stls"])
def test_a_secret_in_clear_where_a_handshake_should_be(
    connect: Callable[[Listener], socket.socket], tmp_path: Path, certified: Certified
) -> None:
    """The worker ends the connection, and no copy of it stays, of what came first or later."""
    need_root()
    with Listener(tmp_path, *certified.options, "--workers", "1") as listener:
        with connect(listener) as peer:
            peer.sendall((b"USER bob\r\nPASS " + _SECRET + b"\r\n") * 2000)
            peer.shutdown(socket.SHUT_WR)
            assert b"" == read_all(peer)
        _settle(listener)
        (worker,) = listener.workers()
        assert not any(_SECRET[:-4] in region for region in memory(worker))


@pytest.mark.parametrize("way", ["clear", "pop3s"])
def test_a_secret_that_does_not_come_to_its_end(way: str, tmp_path: Path, certified: Certified) -> None:
    """A client that leaves within the line of PASS leaves nothing of it."""
    need_root()
    with Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_WAITS) as listener:
        for size in range(1, 9):
            said = b"USER bob\r\nPASS " + _SECRET * size
            if way == "clear":
                with listener.connect() as peer:
                    peer.sendall(said)
                    _settle(listener)
            else:
                with secure.pop3s(listener, certified.issuer.trusted()) as client:
                    client.sendall(said)
                    _settle(listener)
        _settle(listener)
        (worker,) = listener.workers()
        assert not any(_SECRET[:-4] in region for region in memory(worker))
