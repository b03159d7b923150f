"""A login through the whole listener: worker, spawner, subprogram, record."""

import os
import re
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.resident import HOST, HOSTNAME, LOGIN, Started, kill, read_all, read_line
from tests.support.waiting import TIMEOUT, until

_PREAMBLE = "import os, sys; w = lambda text: os.write(1, text.encode('latin-1') + b'\\n'); "
_TALK = "w(os.read(3, 9999).decode('latin-1').replace('\\0', '|')); w(os.read(0, 99).decode('latin-1'))"
_ACCEPTED = "Accept::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'"


def python(statement: str) -> list[str]:
    """Return a subprogram that runs a Python statement, in which w(text) writes a line to the client."""
    return ["/usr/bin/python3", "-IS", "-c", _PREAMBLE + statement]


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Return a listener whose subprogram says what it gets on descriptors 3 and 0."""
    directory = tmp_path_factory.mktemp("listener")
    with Started(directory, subprogram=python(_TALK), env={"POP3AUTH": "apop"}) as running:
        yield running


def test_a_login(talkative: Started) -> None:
    """The subprogram gets name, secret and the greeting's timestamp, and what stands behind PASS."""
    greeting, *_, given, rest = talkative.talk(LOGIN + b"STAT").splitlines()
    stamp = greeting.removeprefix(b"+OK ")
    assert re.fullmatch(rb"<[0-9]+\.[0-9]+@pop\.example\.org>", stamp)
    assert (b"bob|x|" + stamp + b"|", b"STAT") == (given, rest)


def test_a_login_with_apop(talkative: Started) -> None:
    """Name and digest go the same way, and the record says how."""
    said = talkative.talk(b"APOP eve 0123456789abcdef\r\n")
    stamp = said.splitlines()[0].removeprefix(b"+OK ")
    assert b"eve|0123456789abcdef|" + stamp + b"|" in said
    number = stamp.decode().strip("<").split(".")[0]
    record = f"qmail-popup: pid {number} Accept::AUTH::Apop P:POP3 S:127.0.0.1:unknown ?~ 'eve'"
    until(lambda: record in talkative.records())


def test_the_number_is_no_process(talkative: Started) -> None:
    """It is above what a pid can be, the same in timestamp and record, and another one each time."""
    stamps = [talkative.talk(LOGIN).split(b"<")[1].split(b".")[0].decode() for _ in range(5)]
    assert 5 == len(set(stamps))
    assert all(int(number) > 4_194_304 for number in stamps)
    for number in stamps:
        until(partial(_has_record, talkative, number))


def _has_record(listener: Started, number: str) -> bool:
    return any(f" pid {number} " in line for line in listener.records())


def test_what_the_subprogram_inherits(tmp_path: Path) -> None:
    """It sees tcpserver's variables and the listener's own environment, and nothing that is ours."""
    env = {
        "KEPT": "1",
        "QMAIL_POPUP_TIMEOUT": "9",
        "TCPREMOTEHOST": "forged",
        "SSL_PROTOCOL": "TLSv1",
        "LANG": "C",
        **dict.fromkeys(("TRACEPARENT", "TRACESTATE", "BAGGAGE"), "of whoever started the listener"),
    }
    program = python(r"w('|'.join(sorted(k + '=' + v for k, v in os.environ.items() if k != 'PATH')))")
    with Started(tmp_path, subprogram=program, env=env) as listener, listener.connect() as peer:
        port = peer.getsockname()[1]
        peer.sendall(LOGIN)
        seen = read_all(peer).splitlines()[-1].decode().split("|")
        expected = {
            "KEPT": "1",
            "LANG": "C",
            "PROTO": "TCP",
            "TCPLOCALHOST": HOSTNAME,
            "TCPLOCALIP": HOST,
            "TCPLOCALPORT": str(listener.port),
            "TCPREMOTEIP": HOST,
            "TCPREMOTEPORT": str(port),
        }
        assert sorted(f"{name}={value}" for name, value in expected.items()) == [
            entry for entry in seen if not entry.startswith("LC_CTYPE=")
        ]


def test_signals(tmp_path: Path) -> None:
    """The subprogram ignores what the listener was started to ignore, but not what Python ignores."""
    ignored = (signal.SIGUSR1, signal.SIGRTMAX, signal.SIGCHLD, signal.SIGXFSZ)

    def prepare() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    program = ["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    with Started(tmp_path, subprogram=program, prepare=prepare) as listener:
        blocked, still = (int(line.split()[1], 16) for line in listener.talk(LOGIN).splitlines()[-2:])
    found = {number for number in signal.valid_signals() if still >> number - 1 & 1}
    assert (0, {*ignored[:2]}) == (blocked, found)


def test_ipv6(tmp_path: Path) -> None:
    """The variables are those of ucspi-tcp6, and the record has the address."""
    program = python(
        "w(' '.join(os.environ[n] for n in ('PROTO', 'TCP6REMOTEIP', 'TCPREMOTEIP', 'TCP6LOCALIP')))"
    )
    with Started(tmp_path, "--pop3", "[::1]:0", subprogram=program) as listener:
        port = int(listener.announced(r"pop3 on \[::1\]:([0-9]+)$"))
        with socket.create_connection(("::1", port), 30) as peer:
            peer.sendall(LOGIN)
            assert b"TCP6 ::1 ::1 ::1" == read_all(peer).splitlines()[-1]
        (record,) = listener.wait_for_records(1)
        assert record.endswith("Accept::AUTH::User P:POP3 S:::1:unknown ?~ 'bob'")


def test_descriptors_and_signals(tmp_path: Path) -> None:
    """It has the network as 0, 1 and 2, blocking, and 3 and 5; signals and limits are as at the start."""
    program = python(
        "import resource, signal; "
        "fds = [fd for fd in range(1000) if os.path.lexists(f'/proc/self/fd/{fd}')]; "
        "nets = {os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2)}; "
        "soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]; "
        "w(f'{fds[:5]} {len(nets)} {os.get_blocking(0)} {soft}'); "
        "w(' '.join(line.split()[1] for line in open('/proc/self/status') if line[:4] in ('SigB', 'SigI')))"
    )

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 2048))

    with Started(tmp_path, subprogram=program, prepare=prepare) as listener:
        *_, seen, masks = listener.talk(LOGIN).splitlines()
        assert b"[0, 1, 2, 3, 5] 1 True 512" == seen
        assert [0, 0] == [int(mask, 16) & 0x7FFFFFFF & ~(1 << 24 | 1 << 12) for mask in masks.split()]


def test_signals_that_were_blocked(tmp_path: Path) -> None:
    """They are blocked for it as under tcpserver, which lets SIGCHLD come, and without which nothing ends."""
    program = python("import signal; w(repr(sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))))")

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2, signal.SIGCHLD, signal.SIGTERM))

    with Started(tmp_path, "--workers", "2", subprogram=program, prepare=prepare) as listener:
        assert f"[{signal.SIGUSR2:d}]".encode() == listener.talk(LOGIN).splitlines()[-1]
        worker, _ = listener.workers()
        kill(worker)
        until(lambda: worker not in listener.workers() and len(listener.workers()) == 2)


@pytest.mark.parametrize(
    ("program", "reply", "result"),
    [
        (["/bin/true"], b"", "Accept"),
        (["/bin/false"], b"-ERR authorization failed\r\n", "Reject"),
        (["/no/such/program"], b"-ERR authorization failed\r\n", "Reject"),
        (["/bin/sh", "-c", "kill -9 $$"], b"-ERR aack, child crashed\r\n", "Reject"),
        (["/usr/bin/setsid", "/bin/true"], b"", "Accept"),
    ],
    ids=["true", "false", "missing", "killed", "in a session of its own"],
)
def test_how_it_ends(program: list[str], reply: bytes, result: str, tmp_path: Path) -> None:
    """The status decides reply and record, as it does in the popup."""
    with Started(tmp_path, subprogram=program) as listener:
        assert b"+OK\r\n+OK \r\n" + reply == listener.talk(LOGIN)
        (record,) = listener.wait_for_records(1)
        assert f"{result}::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'" == record.split(" ", 3)[3]


def test_a_client_that_has_gone(tmp_path: Path) -> None:
    """A login that has begun gets its record, whoever has gone, and whether or not it was reset."""
    with Started(tmp_path, subprogram=["/bin/sleep", "0.2"]) as listener:
        for reset in (b"\0" * 8, b"\1\0\0\0\0\0\0\0"):
            with listener.connect() as peer:
                read_line(peer)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                peer.sendall(LOGIN)
                read_line(peer)
        assert [_ACCEPTED] * 2 == [line.split(" ", 3)[3] for line in listener.wait_for_records(2)]


def test_clear_text_where_tls_is_required(tmp_path: Path) -> None:
    """Nobody is let in, and the record says why."""
    with Started(tmp_path, env={"UCSPITLS": "!"}) as listener:
        assert b"+OK\r\n-ERR TLS required but not negotiated\r\n" == listener.talk(LOGIN)
        (record,) = listener.wait_for_records(1)
        assert "Reject::STLS::Any P:POP3 S:127.0.0.1:unknown ?~ 'unknown'" == record.split(" ", 3)[3]


def test_without_descriptor_5(tmp_path: Path) -> None:
    """Where there is no log nobody gets one, and what is opened later is not mistaken for it."""
    program = python("w(str(os.path.lexists('/proc/self/fd/5')))")
    with Started(tmp_path, subprogram=program, prepare=lambda: os.close(5)) as listener:
        assert b"False" == listener.talk(LOGIN).splitlines()[-1]


def test_slow_bytes(tmp_path: Path) -> None:
    """A login that comes byte by byte is a login."""
    with Started(tmp_path) as listener, listener.connect() as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in LOGIN:
            peer.sendall(bytes([byte]))
        assert b"+OK\r\n+OK \r\n" == read_all(peer)
        assert [_ACCEPTED] == [line.split(" ", 3)[3] for line in listener.wait_for_records(1)]


def test_a_client_that_reads_no_reply(tmp_path: Path) -> None:
    """It is given up when it has been silent too long; what it holds up is its own session alone."""
    with Started(tmp_path, env={"QMAIL_POPUP_TIMEOUT": "2"}) as listener, listener.connect() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # else it takes megabytes
        greedy.settimeout(0.1)
        with suppress(TimeoutError, ConnectionError):
            while True:
                greedy.send(b"CAPA\r\n" * 1000)
        assert b"+OK\r\n+OK \r\n" == listener.talk(LOGIN)
        greedy.settimeout(TIMEOUT)
        assert read_all(greedy).startswith(b"+OK\r\n+OK capability list follows\r\n")


def test_two_thousand_timestamps(tmp_path: Path) -> None:
    """All that are given within a few seconds differ, whichever worker gives them."""
    with Started(tmp_path, "--workers", "3", env={"POP3AUTH": "apop"}) as listener:
        stamps = set()
        for _ in range(2000):
            with socket.create_connection((HOST, listener.port)) as peer:
                stamps.add(peer.recv(512))
        assert 2000 == len(stamps)
