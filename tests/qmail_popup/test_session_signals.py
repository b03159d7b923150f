"""Which signals end a session, which wait, and what they leave in the subprogram."""

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from signal import SIG_BLOCK, SIG_IGN, SIGHUP, SIGINT, SIGTERM, SIGUSR1

import pytest

from qmail_popup.session import Session
from qmail_popup.settings import Settings
from tests.support import descriptors
from tests.support.child import Child, run
from tests.support.descriptors import Line
from tests.support.popup import shell
from tests.support.session import LOGIN, Client, record, session

HELD = (SIGTERM, SIGINT, SIGHUP)
SECURED = {"SSL_PROTOCOL": "TLSv1.3"}
SIGNALS = ("/bin/grep", "-e", "SigBlk", "-e", "SigIgn", "/proc/self/status")  # a shell has a mask of its own


@pytest.fixture
def client() -> Iterator[Client]:
    """Return a client."""
    client = Client()
    yield client
    client.close()


@pytest.mark.parametrize("number", HELD)
@pytest.mark.parametrize("env", [{}, SECURED], ids=["in clear", "over TLS"])
def test_a_login_once_begun_gets_its_record(
    client: Client, number: signal.Signals, env: dict[str, str]
) -> None:
    """Whatever comes while the subprogram runs waits until the exit: reply and record come anyway."""
    script = f"kill -{number.value} $PPID; exit 1"
    said, known = client.say(LOGIN, session(*shell(script), env=env))
    line = record("Reject::AUTH::User", protocol="POP3S" if env else "POP3")
    assert b"-ERR authorization failed\r\n" == said[-1]
    assert ("rejected", [line]) == (known.ended, client.records())


def test_a_refusal_in_clear_gets_its_record(client: Client) -> None:
    """Also where the log makes it wait, with the network closed: then the server sends SIGTERM."""
    descriptors.fill(client.fds[5])
    with Child(session(UCSPITLS="!"), client.fds) as child:
        client.hand_over()
        client.line.send(b"USER bob\r\n")
        assert client.line.receive_all().endswith(b"-ERR TLS required but not negotiated\r\n")
        os.kill(child.pid, SIGTERM)
        logged = Line(client.log, -1).receive_all()
        assert "tls_required" == child.result().ended
    assert logged.endswith(record("Reject::STLS::Any", name="unknown"))


@pytest.mark.parametrize("said", [b"QUIT\r\n", b"", LOGIN, b"USER bob\r\n"])
def test_what_comes_behind_a_session_waits(client: Client, said: bytes) -> None:
    """From before the first descriptor is closed to the exit, however it ended."""
    client.line.send(said)
    client.line.end()

    def task() -> set[int]:
        Session(Settings([b"h", b"/bin/true"], {}), {}, pid=7, clock=lambda: 1, log=None).run()
        return {int(number) for number in signal.pthread_sigmask(SIG_BLOCK, ())}

    assert set(HELD) == run(task, client.fds)


def _masks(said: list[bytes]) -> dict[str, set[int]]:
    """Return the signals that the subprogram found blocked and ignored."""
    rows = [line.decode().split() for line in said if line.startswith(b"Sig")]
    return {name: {bit + 1 for bit in range(31) if int(mask, 16) >> bit & 1} for name, mask in rows}


@pytest.mark.parametrize("env", [{}, SECURED], ids=["in clear", "over TLS"])
def test_the_subprogram_has_the_inherited_mask_less_these(client: Client, env: dict[str, str]) -> None:
    """One that ends sessions must be able to end it; any other is its caller's business."""

    def before() -> None:
        signal.pthread_sigmask(SIG_BLOCK, (*HELD, SIGUSR1))

    said, _ = client.say(LOGIN, session(*SIGNALS, env=env, before=before))
    assert {"SigBlk:": {SIGUSR1}, "SigIgn:": set()} == _masks(said)


@pytest.mark.parametrize("env", [{}, SECURED], ids=["in clear", "over TLS"])
def test_the_subprogram_has_the_inherited_dispositions(client: Client, env: dict[str, str]) -> None:
    """What was ignored is ignored in it too: no handler is in place when it is started."""

    def before() -> None:
        for number in HELD:
            signal.signal(number, SIG_IGN)

    said, _ = client.say(LOGIN, session(*SIGNALS, env=env, before=before))
    assert {"SigBlk:": set(), "SigIgn:": set(HELD)} == _masks(said)


def test_whoever_ends_a_session_ends_the_subprogram(client: Client) -> None:
    """SIGTERM has its usual effect there, also behind a server for which the popup catches it."""
    _, known = client.say(LOGIN, session(*shell("kill -TERM $$; sleep 60"), env=SECURED))
    assert ("rejected", "session", None) == (known.ended, known.reason, known.status)


# A server that speaks TLS.


def test_what_was_sent_before_the_client_left_is_served(client: Client) -> None:
    """A reply that nobody gets is no end where the rest may be a login."""
    client.line.send(b"NOOP\r\n" + LOGIN)
    client.line.end()
    known = run(session("/bin/false", env=SECURED, on_greeted=_lose_the_client), client.fds | {2: _nobody()})
    line = record("Reject::AUTH::User", protocol="POP3S")
    assert ("rejected", [line]) == (known.ended, client.records())


def test_a_client_that_left_without_a_login_has_left(client: Client) -> None:
    """Where what it sent ends, so does the session, and nothing is waited for."""
    client.line.send(b"NOOP\r\nUSER bob\r\nPASS sec")
    known = run(session(env=SECURED, on_greeted=_lose_the_client), client.fds | {2: _nobody()})
    assert ("disconnected", b"", None) == (known.ended, known.record, known.status)


def _lose_the_client() -> None:
    os.dup2(2, 1)


def _nobody() -> int:
    """Return a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_a_server_whose_pipes_are_the_network_is_one(client: Client) -> None:
    """For POP3S, sslserver names three descriptors of which it has closed two: the control socket tells."""
    names = {"SSLCTLFD": "10", "SSLREADFD": "11", "SSLWRITEFD": "12"}
    task = session(env=names, on_greeted=lambda: os.kill(os.getpid(), SIGTERM))
    known = run(task, client.fds | {10: client.fds[0]})
    assert "disconnected" == known.ended


@pytest.mark.parametrize("env", [{}, {"SSL_PROTOCOL": ""}, {"SSLCTLFD": "10"}], ids=str)
def test_any_other_server_ends_the_popup(client: Client, env: dict[str, str]) -> None:
    """As it ends any program; numbers that name nothing, and a variable that is empty, make no TLS server."""
    with Child(session(env=env), client.fds) as child:
        client.hand_over()
        assert b"+OK\r\n" == client.line.receive_line()
        os.kill(child.pid, SIGTERM)
        assert -SIGTERM == child.status()


def test_without_a_descriptor_to_spare_sigterm_is_what_it_was(client: Client) -> None:
    """The session goes on as it would without us."""

    def fill_up() -> None:
        spare = os.open(os.devnull, os.O_RDONLY)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 1, spare + 1))

    said, known = client.say(LOGIN, session(env=SECURED, before=fill_up))
    assert (b"+OK \r\n", "error") == (said[1], known.ended)  # and there is no pipe for the subprogram


def test_nothing_is_left_open_where_the_subprogram_runs(client: Client, tmp_path: Path) -> None:
    """What wakes the popup up is closed by then: a limit that a session can live with still holds."""
    counted = tmp_path / "count"
    count = shell(f"cat <&3; ls /proc/$PPID/fd | wc -l >{counted}")  # behind its end the pipe is closed
    client.say(LOGIN, session(*count, env=SECURED))
    secure = int(counted.read_text())
    client.close()
    plain = Client()
    plain.say(LOGIN, session(*count))
    plain.close()
    assert secure == int(counted.read_text())
