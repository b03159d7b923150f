"""Exactly once over TLS too: what a real sidecar counts of it, also while processes are killed."""

import os
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from qmail_popup.listener.worker import handshakes
from tests.qmail_popup.listener.conftest import Certified
from tests.qmail_popup.listener.test_counted import attempts, environment, kill_workers, sessions
from tests.support import secure
from tests.support.resident import HOST, LOGIN, Listener, read_all, read_line
from tests.support.secure import Client, talk
from tests.support.sidecar import RunningSidecar
from tests.support.waiting import until


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[RunningSidecar]:
    """Return a sidecar that runs."""
    with RunningSidecar(tmp_path) as running:
        yield running


def by(sidecar: RunningSidecar, name: str, label: str) -> Mapping[str, float]:
    """Return a metric's values by one of its labels, those above 0."""
    found: dict[str, float] = {}
    for (sample, labels), value in sidecar.numbers().items():
        if sample == f"qmail_popup_{name}" and value:
            found[dict(labels)[label]] = found.get(dict(labels)[label], 0) + value
    return found


def test_logins(sidecar: RunningSidecar, tmp_path: Path, certified: Certified) -> None:
    """Protocol and version are told, of a session and of its login."""
    trusted, older = certified.issuer.trusted(), certified.issuer.trusted()
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with Listener(tmp_path, *certified.options, env=environment(tmp_path)) as listener:
        listener.talk(LOGIN)
        talk(secure.pop3s(listener, trusted), LOGIN)
        talk(secure.stls(listener, trusted), LOGIN)
        talk(secure.stls(listener, older), LOGIN)
        until(lambda: {"accepted": 4} == sessions(sidecar))
        assert {"POP3": 1, "POP3S": 3} == by(sidecar, "auth_attempts_total", "protocol")
        assert {"POP3": 1, "POP3S": 3} == by(sidecar, "sessions_total", "protocol")
        assert {"TLSv1.3": 2, "TLSv1.2": 1} == by(sidecar, "tls_sessions_total", "version")


def test_handshakes_that_fail(sidecar: RunningSidecar, tmp_path: Path, certified: Certified) -> None:
    """What is no TLS has failed; a port that is only looked at, or a client that leaves later, has not."""
    with Listener(tmp_path, *certified.options, env=environment(tmp_path)) as listener:
        for connect in (secure.bare, secure.asking):
            with connect(listener) as peer:
                peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
                read_all(peer)
        secure.asking(listener).close()
        until(lambda: {"tls_failed": 3} == sessions(sidecar))
        secure.bare(listener).close()
        until(lambda: {"tls_failed": 3, "disconnected": 1} == sessions(sidecar))
        with secure.pop3s(listener, certified.issuer.trusted()) as client:
            client.sendall(b"QUIT\r\n")
            read_all(client)
        until(lambda: {"tls_failed": 3, "disconnected": 1, "quit": 1} == sessions(sidecar))
        assert {"POP3S": 5} == by(sidecar, "sessions_total", "protocol")
        assert sidecar.reaches(0, "sessions_active")
        assert [] == listener.records()


def test_a_client_that_only_looks_at_the_certificate(
    sidecar: RunningSidecar, tmp_path: Path, certified: Certified
) -> None:
    """It may take its leave in the segment that ends its handshake, which has not failed for that."""
    with Listener(tmp_path, *certified.options, env=environment(tmp_path)) as listener:
        for count, connect in enumerate((secure.bare, secure.asking), 1):
            with connect(listener) as peer:
                _look(peer, certified.issuer.trusted())
                read_all(peer)
                until(partial(_have_left, sidecar, count))
        assert {"TLSv1.3": 2} == by(sidecar, "tls_sessions_total", "version")


def _have_left(sidecar: RunningSidecar, count: int) -> bool:
    return {"disconnected": count} == sessions(sidecar)


def _look(peer: socket.socket, context: ssl.SSLContext) -> None:
    """Do a handshake, and send the last of it together with a close_notify."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            peer.sendall(outgoing.read())
            incoming.write(peer.recv(65536))
    with suppress(ssl.SSLWantReadError):
        tls.unwrap()
    peer.sendall(outgoing.read())


def test_a_handshake_that_takes_too_much(
    sidecar: RunningSidecar, tmp_path: Path, certified: Certified
) -> None:
    """Who begins with a hello of 128 KiB is not waited for: OpenSSL would keep all of it before a login."""
    hello = b"\x01\x01\xff\x00" + bytes(40_000)
    records = (hello[start : start + 16384] for start in range(0, len(hello), 16384))
    said = b"".join(b"\x16\x03\x01" + len(record).to_bytes(2) + record for record in records)
    with Listener(tmp_path, *certified.options, env=environment(tmp_path)) as listener:
        for connect in (secure.bare, secure.asking):
            with connect(listener) as peer:
                peer.sendall(said)
                assert b"" == read_all(peer)
        until(lambda: {"tls_failed": 2} == sessions(sidecar))


def test_a_handshake_that_takes_too_long(
    sidecar: RunningSidecar, tmp_path: Path, certified: Certified
) -> None:
    """It has 30 s of a login's time; with less time for a login it has no more than that."""
    assert 30 == handshakes.SECONDS
    env = {**environment(tmp_path), "QMAIL_POPUP_LOGIN_TIMEOUT": "2"}
    with (
        Listener(tmp_path, *certified.options, env=env) as listener,
        secure.bare(listener) as silent,
        secure.asking(listener) as slow,
    ):
        slow.sendall(b"\x16\x03\x01")
        assert [b"", b""] == [read_all(silent), read_all(slow)]
        until(lambda: {"timeout": 2} == sessions(sidecar))


def test_a_client_with_too_many(sidecar: RunningSidecar, tmp_path: Path, certified: Certified) -> None:
    """Connections in a handshake count like others, and the one that has been silent longest has to go."""
    options = (*certified.options, "--workers", "1", "--connections", "2")
    with Listener(tmp_path, *options, env=environment(tmp_path)) as listener, ExitStack() as stack:
        first, second = (stack.enter_context(secure.bare(listener)) for _ in range(2))
        assert sidecar.reaches(2, "sessions_active")
        with listener.connect() as newcomer:
            assert read_line(newcomer).startswith(b"+OK")
            assert b"" == read_all(first)
            until(lambda: {"refused": 1} == sessions(sidecar))
        second.close()


def test_who_asks_for_tls_is_not_silent(
    sidecar: RunningSidecar, tmp_path: Path, certified: Certified
) -> None:
    """STLS is a word like another: who said something before it has to go for a newcomer."""
    options = (*certified.options, "--workers", "1", "--connections", "2")
    with Listener(tmp_path, *options, env=environment(tmp_path)) as listener, listener.connect() as first:
        read_line(first)
        with listener.connect() as second:
            read_line(second)
            first.sendall(b"STLS\r\n")
            assert secure.STARTING == read_line(first)
            with listener.connect() as newcomer:
                assert read_line(newcomer).startswith(b"+OK")
                assert b"" == read_all(second)
        assert b"+OK \r\n" == talk(Client(first, certified.issuer.trusted()), LOGIN)
        until(lambda: {"refused": 1, "disconnected": 1, "accepted": 1} == sessions(sidecar))


def test_a_worker_that_is_killed(sidecar: RunningSidecar, tmp_path: Path, certified: Certified) -> None:
    """Whoever was in a handshake, or behind it, is killed; a login that was handed over has its line."""
    late = ("/bin/sh", "-c", "echo begun; cat >/dev/null")
    options = (*certified.options, "--workers", "1")
    trusted = certified.issuer.trusted()
    with (
        Listener(tmp_path, *options, subprogram=late, env=environment(tmp_path)) as listener,
        secure.bare(listener) as beginning,
        secure.pop3s(listener, trusted),
        secure.stls(listener, trusted) as logged_in,
    ):
        logged_in.sendall(LOGIN)
        while read_line(logged_in) != b"begun\n":
            pass
        beginning.sendall(b"\x16")
        assert sidecar.reaches(3, "sessions_active")
        os.kill(listener.workers()[0], signal.SIGKILL)
        until(lambda: {"killed": 2, "accepted": 1} == sessions(sidecar))
        assert 1 == len(listener.wait_for_records(1))
        assert 1 == attempts(sidecar)


def test_a_storm(tmp_path: Path, certified: Certified) -> None:
    """Clear, POP3S and STLS, while workers and the sidecar are killed: lines and attempts stay the same."""
    with ExitStack() as stack:
        sidecar = stack.enter_context(RunningSidecar(tmp_path))
        options = (*certified.options, "--workers", "2")
        program = ("/bin/sh", "-c", "echo in")
        listener = stack.enter_context(
            Listener(tmp_path, *options, subprogram=program, env=environment(tmp_path))
        )
        answers: list[bytes] = []
        clients = [
            threading.Thread(target=_log_in, args=(listener, certified.issuer.trusted(), way, answers))
            for way in (_in_clear, secure.pop3s, secure.stls) * 2
        ]
        for client in clients:
            client.start()
        for _ in range(3):
            kill_workers(listener, clients[0])
            sidecar.kill()
            sidecar = stack.enter_context(RunningSidecar(tmp_path))
        for client in clients:
            client.join()
        listener.process.terminate()
        until(lambda: [] == listener.children())
        lines = len(listener.records())
        assert lines >= answers.count(_WHOLE) > 60
        assert all(_WHOLE.startswith(answer) for answer in answers)
        until(lambda: lines == attempts(sidecar))


_WHOLE = b"+OK \r\nin\n"


def _in_clear(listener: Listener, _context: ssl.SSLContext) -> socket.socket:
    return socket.create_connection((HOST, listener.port), 60)


def _log_in(
    listener: Listener,
    context: ssl.SSLContext,
    connect: Callable[[Listener, ssl.SSLContext], socket.socket | Client],
    answers: list[bytes],
) -> None:
    """Log in again and again, and take what comes up to the end, or to the end of a worker."""
    for _ in range(30):
        with suppress(OSError, AssertionError), connect(listener, context) as peer:
            peer.sendall(LOGIN)
            answers.append(read_all(peer).removeprefix(b"+OK\r\n"))


def test_clients_that_reset_at_every_point(
    sidecar: RunningSidecar, tmp_path: Path, certified: Certified
) -> None:
    """Each is counted once, and lines and attempts stay the same."""
    trusted = certified.issuer.trusted()
    with Listener(tmp_path, *certified.options, env=environment(tmp_path)) as listener:
        for size in range(0, len(LOGIN) + 1, 3):
            for connect in (secure.pop3s, secure.stls):
                client = connect(listener, trusted)
                client.sendall(LOGIN[:size] if size else b"NOOP\r\n")
                client.bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.bare.close()
        count = 2 * len(range(0, len(LOGIN) + 1, 3))
        until(lambda: count == sum(sessions(sidecar).values()))
        assert len(listener.records()) == attempts(sidecar)
        assert {"disconnected", "accepted"} >= set(sessions(sidecar))
