"""The mirror in a real popup: what it tells a sidecar, and that nobody ever waits for it."""

import os
import re
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from observability.arrivals.parsing import Event, parse
from tests.support import descriptors
from tests.support.listener import Block, Caller, Listener, left_in
from tests.support.popup import LOGIN, REFUSES, Popup, shell
from tests.support.programs import need

_ATTEMPTS = 20
_MAX_WAIT = 300  # milliseconds
_POLLS = re.compile(r"poll\(\[\{fd=(\d+), .*\], 1, (-?\d+)\)")  # as strace tells of them
_PATH = {"PATH": os.environ["PATH"]}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return a popup's environment with the mirror on; the spool is there, the socket is not."""
    (tmp_path / "spool").mkdir()
    return {
        **_PATH,
        "TCPREMOTEIP": "192.0.2.7",
        "TCPREMOTEHOST": "client.example.org",
        "QMAIL_POPUP_SIDECAR": str(tmp_path / "socket"),
        "QMAIL_POPUP_SPOOL": str(tmp_path / "spool"),
    }


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Listener]:
    """Return a sidecar for which the test speaks."""
    with Listener(tmp_path / "socket") as listener:
        yield listener


def _next(caller: Caller) -> Block:
    block = caller.block()
    assert block is not None
    return block


def _imported(env: Mapping[str, str]) -> bytes:
    with Popup([sys.executable, "-X", "importtime", "-m", "qmail_popup"], env=env) as popup:
        popup.talk(LOGIN)
        assert 0 == popup.status()
        return popup.errors()


def test_it_is_not_even_imported_where_nothing_is_set(env: dict[str, str]) -> None:
    """Unset or empty, it costs nothing; set, it is imported (so this could fail)."""
    nothing = {"QMAIL_POPUP_SIDECAR": "", "QMAIL_POPUP_SPOOL": ""}
    assert b"observability" not in _imported(_PATH)
    assert b"observability" not in _imported({**_PATH, **nothing})
    # What descriptor 2 was told comes before it is closed.
    assert b"observability.mirror" in _imported(env)


def test_a_session_tells_its_begin_and_its_end(
    popup: list[str], env: dict[str, str], sidecar: Listener
) -> None:
    """Hello, then event, over one connection; what both know is the same, the record is that of the log."""
    before = time.time_ns()
    with Popup(popup, REFUSES, env=env) as running, closing(sidecar.accept()) as caller:
        hello = _next(caller)
        assert b"+OK\r\n+OK \r\n-ERR authorization failed\r\n" == running.talk(LOGIN)
        event = _next(caller)
        caller.acknowledge()
        assert (1, None) == (running.status(), caller.block())
        (record,) = running.records()
        pid = b"%d" % running.process.pid
    assert {"V", "TRACE", "SPAN", "PID", "PROTOCOL", "T_START", "CLIENT_IP", "CLIENT_HOST", "END"} == {
        name.decode() for name in hello
    }
    assert hello == {name: event[name] for name in hello}
    assert (record.removesuffix(b"\n"), pid, b"1") == (event[b"RECORD"], event[b"PID"], event[b"STATUS"])
    assert (b"rejected", b"POP3", b"192.0.2.7") == (event[b"ENDED"], event[b"PROTOCOL"], event[b"CLIENT_IP"])
    times = [
        int(event[b"T_" + name])
        for name in (b"START", b"GREETED", b"CREDENTIALS", b"SPAWNED", b"EXITED", b"ENDED")
    ]
    assert sorted(times) == times
    assert before <= times[0]
    assert not sidecar.has_caller()


def test_what_it_sends_is_well_formed(popup: list[str], env: dict[str, str], tmp_path: Path) -> None:
    """Though the server names nonsense, the sidecar's own parser takes the event, and it is not too long."""
    odd = {"TCPREMOTEIP": "x" * 3000, "TCPREMOTEHOST": ": ?~ '" + "\x7f" * 3000, "TCPLOCALIP": ""}
    with Popup(popup, REFUSES, env={**env, **odd}) as running:
        running.talk(LOGIN)
        assert 1 == running.status()
    block = (tmp_path / "spool/spool").read_bytes().strip(b"\0")
    assert isinstance(parse(block), Event)
    assert b"CLIENT_HOST" not in left_in(tmp_path / "spool")[0]


def test_a_second_sidecar_gets_what_the_first_did_not_acknowledge(
    popup: list[str], env: dict[str, str], sidecar: Listener, tmp_path: Path
) -> None:
    """The connection ends between hello and event: there is one more, and nothing in the spool."""
    with Popup(popup, env=env) as running:
        with closing(sidecar.accept()) as first:
            hello = _next(first)
        running.line.send(LOGIN)
        with closing(sidecar.accept()) as second:
            event = _next(second)
            second.acknowledge()
        assert 0 == running.status()
    assert hello[b"TRACE"] == event[b"TRACE"]
    assert b"accepted" == event[b"ENDED"]
    assert [] == left_in(tmp_path / "spool")


def test_an_event_that_nobody_acknowledges_is_left_in_the_spool(
    popup: list[str], env: dict[str, str], sidecar: Listener, tmp_path: Path
) -> None:
    """The same event as the sidecar got, and it tries nobody else: it has waited long enough."""
    with Popup(popup, env=env) as running, closing(sidecar.accept()) as caller:
        running.talk(LOGIN)
        assert 0 == running.status()
        _next(caller)
        assert [_next(caller)] == left_in(tmp_path / "spool")
    assert not sidecar.has_caller()


def test_a_client_that_is_gone_before_the_greeting_is_a_session(
    popup: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    """It ended, disconnected, without a greeting."""
    reader, writer = os.pipe()
    os.close(reader)
    with Popup(popup, env=env, fds={1: writer}) as running:
        os.close(writer)
        assert 1 == running.status()
    (event,) = left_in(tmp_path / "spool")
    assert b"disconnected" == event[b"ENDED"]
    assert b"T_GREETED" not in event


def test_the_subprogram_learns_the_trace_and_nothing_of_ours(
    popup: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    """A parent that the popup inherited is none; our variables stay with the popup."""
    parent = {
        "TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01",
        "TRACESTATE": "x=y",
        "BAGGAGE": "k=v",
        "KEPT": "1",
    }
    with Popup(popup, shell(f"env -0 >{tmp_path}/env"), env={**env, **parent}) as running:
        running.talk(LOGIN)
        assert 0 == running.status()
    (event,) = left_in(tmp_path / "spool")
    told = dict(entry.split(b"=", 1) for entry in (tmp_path / "env").read_bytes().split(b"\0") if entry)
    assert b"00-%s-%s-01" % (event[b"TRACE"], event[b"SPAN"]) == told[b"TRACEPARENT"]
    assert (b"1", None, None) == (told[b"KEPT"], told.get(b"TRACESTATE"), told.get(b"BAGGAGE"))
    assert [] == [name for name in told if name.startswith(b"QMAIL_POPUP_")]


def test_its_descriptors_are_out_of_the_way(popup: list[str], env: dict[str, str], sidecar: Listener) -> None:
    """Those below 10 mean something, closed ones too; what it has open is above."""
    closed: dict[int, int | None] = {2: None, 5: None}
    with Popup(popup, env=env, fds=closed) as running, closing(sidecar.accept()) as caller:
        _next(caller)
        held = {int(name) for name in os.listdir(f"/proc/{running.process.pid}/fd")}
        running.talk(LOGIN)
        caller.acknowledge()
        assert 0 == running.status()
    assert {0, 1} == {fd for fd in held if fd < 10}
    assert 1 == len(held) - 2


def test_a_sidecar_that_accepts_nobody_holds_nobody_up(
    popup: list[str], env: dict[str, str], sidecar: Listener, tmp_path: Path
) -> None:
    """Its backlog is full: the greeting comes, the session goes on, the event is in the spool."""
    with sidecar.full(), Popup(popup, env=env) as running:
        running.talk(LOGIN)
        assert 0 == running.status()
    assert 1 == len(left_in(tmp_path / "spool"))


@pytest.mark.parametrize("tls", [False, True], ids=["in clear", "over TLS"])
def test_all_is_closed_before_it_waits(
    popup: list[str], env: dict[str, str], sidecar: Listener, *, tls: bool
) -> None:
    """Client, log, server and TLS server see the end while the popup, alive, waits for its sidecar."""
    assert any(_is_seen_to_end(popup, env, sidecar, tls=tls) for _ in range(_ATTEMPTS))


def _is_seen_to_end(popup: list[str], env: dict[str, str], sidecar: Listener, *, tls: bool) -> bool:
    """Hold one session up at its sidecar; whether all saw the end while the popup was still there."""
    control, far = socket.socketpair()
    (reader, far_writer), (far_reader, writer), (errors, errors_writer) = os.pipe(), os.pipe(), os.pipe()
    fds = {2: errors_writer, 10: far.fileno(), 11: far_reader, 12: far_writer}
    told = {"UCSPITLS": "", "SSLCTLFD": "10", "SSLREADFD": "11", "SSLWRITEFD": "12"}
    with Popup(popup, REFUSES, env={**env, **told}, fds=fds) as running:
        descriptors.close({errors_writer, far.detach(), far_reader, far_writer})
        with closing(sidecar.accept()) as caller:
            _log_in(running, control, writer) if tls else running.line.send(LOGIN)
            _next(caller)
            assert (b"POP3S" if tls else b"POP3") == _next(caller)[b"PROTOCOL"]
            watched = (running.line.reader, running.log, errors, control.fileno(), reader)
            seen = [_at_its_end(fd) for fd in watched] + [running.process.poll() is None]
            assert 1 == running.status()
    descriptors.close({reader, writer, errors, control.detach()})
    return all(seen)


def _log_in(running: Popup, control: socket.socket, writer: int) -> None:
    """Be client and TLS server from STLS to the login."""
    running.line.send(b"STLS\r\n")
    assert b"Y" == control.recv(1)
    control.sendall(b"SSL_PROTOCOL=TLSv1.3\0\0")
    os.write(writer, LOGIN)


def _at_its_end(fd: int) -> bool:
    """Tell whether the far end of fd is closed by now, whatever is still to be read."""
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    return bool(poll.poll(0))


def test_it_is_gone_in_time(popup: list[str], env: dict[str, str], sidecar: Listener, tmp_path: Path) -> None:
    """All that it waits for behind the client comes to 300 ms at most, with a sidecar that says nothing."""
    (strace,) = need("strace")
    trace = tmp_path / "trace"
    traced = (strace, "-qq", f"-o{trace}", "-etrace=poll,clock_nanosleep")
    with Popup([*traced, *popup], env=env) as running, closing(sidecar.accept()):
        running.talk(LOGIN)
        assert 0 == running.status()
    waits = [int(wait) for fd, wait in _POLLS.findall(trace.read_text()) if int(fd) > 1]
    assert waits
    assert sum(waits) <= _MAX_WAIT
    assert "nanosleep" not in trace.read_text()
