"""Logins over TLS: what a worker carries, how either side ends, and who waits for whom."""

import hashlib
import os
import signal
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.qmail_popup.listener.conftest import Certified
from tests.qmail_popup.listener.test_login import python
from tests.support import processes, secure
from tests.support.programs import need_root
from tests.support.resident import LOGIN, Listener, read_all, read_line
from tests.support.secure import Client, talk
from tests.support.waiting import until

_ECHO = ("/bin/sh", "-c", "echo begun; exec cat")
_HANGING = ("/bin/sh", "-c", "echo begun; read line; echo $line")
_ENDLESS = ("/bin/sh", "-c", "echo begun; exec cat /dev/zero")
_DEAF = ("/bin/sh", "-c", "echo begun; exec sleep 600")
_SIZE = 100_000_000
_BIG = ("/bin/sh", "-c", f"echo begun; head -c {_SIZE} /dev/zero; echo end")


def begun(listener: Listener, certified: Certified) -> Client:
    """Log in, and wait until the subprogram has begun."""
    client = secure.pop3s(listener, certified.issuer.trusted())
    client.sendall(LOGIN)
    while (line := read_line(client)) != b"begun\n":
        assert line, "the connection has ended"
    return client


def reset(client: Client) -> None:
    """Be gone without a word (socket(7), SO_LINGER)."""
    client.bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.bare.close()


def test_the_clients_end_is_the_subprograms_end_of_input(tmp_path: Path, certified: Certified) -> None:
    """What it still says is carried, and its own end is told by close_notify."""
    late = python("w('begun'); n = sum(iter(lambda: len(os.read(0, 65536)), 0)); w(str(n))")
    with Listener(tmp_path, *certified.options, subprogram=late) as listener:
        client = begun(listener, certified)
        assert b"300000\n" == talk(client, b"x" * 300_000)


def silent(notes: Path) -> list[str]:
    """Return a subprogram that ends its output, and notes how much the client says from then on."""
    return python(
        "import socket; w('begun'); socket.socket(fileno=os.dup(1)).shutdown(1); "
        f"open('{notes}', 'w').write(str(sum(iter(lambda: len(os.read(0, 65536)), 0))))"
    )


def test_the_subprograms_end_of_output_ends_one_direction(tmp_path: Path, certified: Certified) -> None:
    """It is told by close_notify, and what the client says is carried on."""
    notes = tmp_path / "notes"
    with Listener(tmp_path, *certified.options, subprogram=silent(notes)) as listener:
        client = begun(listener, certified)
        client.sendall(b"x" * 1000)
        assert b"" == client.recv(1)  # an error without close_notify
        with client:
            client.sendall(b"y" * 200_000)
            client.end()
            until(lambda: notes.exists() and notes.read_text() == "201000")
        listener.wait_for_records(1)


def test_what_a_client_says_last(tmp_path: Path, certified: Certified) -> None:
    """It is carried though the client has closed by then, and the subprogram says no more."""
    notes = tmp_path / "notes"
    options = (*certified.options, "--workers", "1")
    with Listener(tmp_path, *options, subprogram=silent(notes)) as listener:
        client = begun(listener, certified)
        assert b"" == read_all(client)
        (worker,) = listener.workers()
        os.kill(worker, signal.SIGSTOP)
        with client:
            client.sendall(b"y" * 5000)
            client.end()
        os.kill(worker, signal.SIGCONT)
        listener.wait_for_records(1)
        assert "5000" == notes.read_text()


def test_the_subprograms_end_ends_the_connection(tmp_path: Path, certified: Certified) -> None:
    """All that it said comes first, however slow the client; the client need not say anything."""
    said = ("/bin/sh", "-c", "echo begun; head -c 3000000 /dev/zero")
    with (
        Listener(tmp_path, *certified.options, subprogram=said) as listener,
        begun(listener, certified) as client,
    ):
        assert bytes(3_000_000) == read_all(client)
        assert b"" == client.bare.recv(1)


def test_a_client_that_takes_nothing_of_a_refusal(tmp_path: Path, certified: Certified) -> None:
    """What the listener itself says behind the subprogram goes the same way."""
    refusing = ("/bin/sh", "-c", "exit 1")
    with Listener(tmp_path, *certified.options, subprogram=refusing) as listener:
        said = talk(secure.stls(listener, certified.issuer.trusted()), LOGIN)
        assert b"+OK \r\n-ERR authorization failed\r\n" == said
        assert " Reject::AUTH::User P:POP3S " in listener.wait_for_records(1)[0]


def test_what_goes_both_ways_at_once(tmp_path: Path, certified: Certified) -> None:
    """Five megabytes come back as they were sent, while they are sent."""
    data = hashlib.shake_128().digest(5_000_000)
    with (
        Listener(tmp_path, *certified.options, subprogram=_ECHO) as listener,
        begun(listener, certified) as client,
    ):
        came = bytearray()
        incoming = _reading(client, came, len(data))
        for start in range(0, len(data), 50_000):
            client.sendall(data[start : start + 50_000])
            incoming(start)
        client.end()
        came += read_all(client)
        assert hashlib.sha256(data).digest() == hashlib.sha256(came).digest()


def _reading(client: Client, came: bytearray, size: int) -> Callable[[int], None]:
    """Return what reads until no more than a bit of what was sent is still under way."""

    def read(sent: int) -> None:
        while len(came) < min(sent - 200_000, size):
            came.extend(client.recv(65536))

    return read


def test_a_hundred_megabytes_and_a_slow_reader_beside(tmp_path: Path, certified: Certified) -> None:
    """The mail arrives whole; who takes his slowly holds nobody up and costs no memory."""
    with Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_BIG) as listener:
        slow = begun(listener, certified)
        slow.recv(1000)
        (worker,) = listener.workers()
        before = _kib(worker)
        with begun(listener, certified) as quick:
            size = 0
            while data := quick.recv(1 << 20):
                size += len(data)
            assert _SIZE + len(b"end\n") == size
        with slow:
            assert _kib(worker) - before < 2048
            assert len(slow.recv(1 << 20)) > 0


def _kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_a_client_that_reads_nothing(tmp_path: Path, certified: Certified) -> None:
    """Its subprogram waits, as on a socket of the client's, and ends when the client has gone."""
    with Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_ENDLESS) as listener:
        client = begun(listener, certified)
        (program,) = processes.children(listener.spawner())
        until(lambda: _is_waiting(program))
        (worker,) = listener.workers()
        assert _kib(worker) < 60_000
        reset(client)
        until(lambda: processes.is_gone(program))
        assert " Reject::" in listener.wait_for_records(1)[0]


def _is_waiting(pid: int) -> bool:
    """Whether a process writes nothing more."""
    written = [Path(f"/proc/{pid}/io").read_text().split()[3]]
    return all(Path(f"/proc/{pid}/io").read_text().split()[3] == written[0] for _ in range(50))


def test_a_subprogram_that_reads_nothing(tmp_path: Path, certified: Certified) -> None:
    """Its client waits, and others are served."""
    with Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_DEAF) as listener:
        client = begun(listener, certified)
        client.bare.settimeout(1)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(100_000_000))
        begun(listener, certified).bare.close()
        client.bare.close()


def _points(client_hello: bytes) -> Iterator[bytes]:
    """Return beginnings of a handshake, from nothing to a whole first message, and garbage."""
    yield from (client_hello[:size] for size in (0, 1, 5, 6, 100, len(client_hello) - 1, len(client_hello)))
    yield from (b"GET / HTTP/1.0\r\n\r\n", LOGIN, b"\x16\x03\x01\xff\xff" + bytes(65536), bytes(range(256)))


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("way", ["close", "half-close", "reset"])
def test_clients_that_leave_in_a_handshake(tmp_path: Path, certified: Certified, way: str) -> None:
    """At whatever byte they do: nothing stays behind, and the next one is served."""
    need_root()  # only root may look into a worker
    with Listener(tmp_path, *certified.options, "--workers", "1") as listener:
        talk(secure.pop3s(listener, certified.issuer.trusted()), LOGIN)
        (worker,) = listener.workers()
        before = len(os.listdir(f"/proc/{worker}/fd"))
        for said in _points(_client_hello()):
            for connect in (secure.bare, secure.asking):
                peer = connect(listener)
                with suppress(ConnectionError):
                    peer.sendall(said)
                    if way == "half-close":
                        peer.shutdown(socket.SHUT_WR)
                        while peer.recv(65536):
                            pass
                if way == "reset":
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
        assert b"+OK \r\n" == talk(secure.pop3s(listener, certified.issuer.trusted()), LOGIN)
        until(lambda: len(os.listdir(f"/proc/{worker}/fd")) <= before)
        assert [worker] == listener.workers()
        assert 2 == len(listener.wait_for_records(2))


@pytest.mark.parametrize("said", [b"", b"USER bob\r\n", LOGIN[:-1], LOGIN, LOGIN + b"more\n"], ids=repr)
def test_clients_that_reset_behind_the_handshake(tmp_path: Path, certified: Certified, said: bytes) -> None:
    """A login that has come whole has its line, whoever has gone; what has not is none."""
    with Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_ECHO) as listener:
        for _ in range(5):
            client = secure.stls(listener, certified.issuer.trusted())
            client.sendall(said)
            reset(client)
        assert b"+OK \r\nbegun\nx" == talk(secure.stls(listener, certified.issuer.trusted()), LOGIN + b"x")
        until(lambda: [] == processes.children(listener.spawner()))
        lines = listener.records()
        assert 1 <= len(lines) <= 6 if said.startswith(LOGIN) else 1 == len(lines)


def test_garbage_behind_a_login(tmp_path: Path, certified: Certified) -> None:
    """What is no record of the connection ends it, and the subprogram's input."""
    with Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_ECHO) as listener:
        client = begun(listener, certified)
        client.bare.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        with client, pytest.raises((ssl.SSLError, ConnectionError)):
            read_all_of(client)
        assert 1 == len(listener.wait_for_records(1))


def test_garbage_right_behind_a_login(tmp_path: Path, certified: Certified) -> None:
    """That ends both where it comes with the login, too: nothing else would end the subprogram's input."""
    with (
        Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_ECHO) as listener,
        secure.pop3s(listener, certified.issuer.trusted()) as client,
    ):
        client.tls.write(LOGIN)
        client.bare.sendall(client.unsent() + b"\x17\x03\x03\x00\x20" + bytes(32))
        until(lambda: [] == processes.children(listener.spawner()) and len(listener.records()) == 1)


def read_all_of(client: Client) -> None:
    """Read to the end, and let errors be."""
    while client.recv(65536):
        pass


def test_a_worker_that_is_killed(tmp_path: Path, certified: Certified) -> None:
    """A login over TLS ends by the end of its input, with its line, as its subprogram says."""
    late = ("/bin/sh", "-c", "echo begun; cat >/dev/null; exit 0")
    with Listener(tmp_path, *certified.options, "--workers", "1", subprogram=late) as listener:
        client = begun(listener, certified)
        (worker,) = listener.workers()
        os.kill(worker, signal.SIGKILL)
        with client, pytest.raises(ConnectionError):
            client.recv(1)
        assert " Accept::AUTH::User P:POP3S " in listener.wait_for_records(1)[0]
        until(lambda: listener.workers() not in ([], [worker]))
        talk(begun(listener, certified), b"")


def test_a_spawner_that_is_killed(tmp_path: Path, certified: Certified) -> None:
    """Its subprograms go on, and what they say is carried."""
    with Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_HANGING) as listener:
        client = begun(listener, certified)
        os.kill(listener.spawner(), signal.SIGKILL)
        assert b"still here\n" == talk(client, b"still here\n")


def test_a_listener_that_is_told_to_end(tmp_path: Path, certified: Certified) -> None:
    """Workers stay until the last session that they carry has ended."""
    with Listener(tmp_path, *certified.options, "--workers", "2", subprogram=_HANGING) as listener:
        client = begun(listener, certified)
        family = listener.children()
        listener.process.terminate()
        assert 0 == listener.process.wait(60)
        assert b"still here\n" == talk(client, b"still here\n")
        assert 1 == len(listener.wait_for_records(1))
        until(lambda: all(map(processes.is_gone, family)))


def test_a_reload(tmp_path: Path, certified: Certified) -> None:
    """A session of the generation before is carried to its end, and the next has the new certificate."""
    issuer = certified.issuer
    current = tmp_path / "current.pem"
    options = ["--pop3s", "127.0.0.1:0", "--tls-certificate", str(current)]
    _install(current, options_of(certified, 0))
    with Listener(tmp_path, *options, "--workers", "1", subprogram=_HANGING) as listener:
        client = begun(listener, certified)
        assert "RSA" in _cipher(listener, issuer.trusted())
        _install(current, options_of(certified, 1))
        listener.reload()
        assert "ECDSA" in _cipher(listener, issuer.trusted())
        assert b"still here\n" == talk(client, b"still here\n")
        current.write_text("nothing")
        assert "no certificate in" in listener.refuses_to_reload()
        assert "ECDSA" in _cipher(listener, issuer.trusted())


def options_of(certified: Certified, place: int) -> list[str]:
    """Return the files of one pair."""
    files = [value for value in certified.options if value.endswith((".pem", ".key"))]
    return files[2 * place : 2 * place + 2]


def _install(target: Path, files: list[str]) -> None:
    target.write_text("".join(Path(file).read_text() for file in files))


def _cipher(listener: Listener, context: ssl.SSLContext) -> str:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with secure.pop3s(listener, context) as client:
        cipher = client.tls.cipher()
    assert cipher
    return cipher[0]


def test_many_at_once(tmp_path: Path, certified: Certified) -> None:
    """Nobody hears what another is told, though one pair of buffers serves them all."""
    with Listener(tmp_path, *certified.options, "--workers", "1", subprogram=_ECHO) as listener:
        with ThreadPoolExecutor(20) as threads:
            assert all(threads.map(partial(_is_echoed, listener, certified), range(20)))
        assert 20 == len(listener.wait_for_records(20))


def _is_echoed(listener: Listener, certified: Certified, number: int) -> bool:
    mine = b"%d " % number * 40_000
    came = bytearray()
    with begun(listener, certified) as client:
        for start in range(0, len(mine), 20_000):
            client.sendall(mine[start : start + 20_000])
            came += client.recv(65536)
        client.end()
        came += read_all(client)
    return mine == came
