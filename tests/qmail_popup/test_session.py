"""One session in a forked child: the order of things, and what is known of it afterwards."""

import os
import resource
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import qmail_popup
from qmail_popup.session import EXIT_STATUS
from tests.support import descriptors
from tests.support.child import Child, run
from tests.support.descriptors import Line
from tests.support.popup import shell
from tests.support.session import LOGIN, Client, Told, record, session


@pytest.fixture
def client() -> Iterator[Client]:
    """Return a client."""
    client = Client()
    yield client
    client.close()


def test_exit_statuses() -> None:
    """An orderly end is 0, and only that."""
    assert {"accepted": 0, "quit": 0} == EXIT_STATUS


def test_quit(client: Client) -> None:
    """QUIT ends a session; nothing was logged, no subprogram ran, and all times are known."""
    said, known = client.say(b"NOOP\r\nQUIT\r\nNOOP\r\n", session())
    assert [b"+OK\r\n", b"+OK \r\n", b"+OK \r\n"] == said
    assert Told("quit", "quit", "", b"", 1, 0, 2, b"POP3", None, "", None, None) == known
    assert [] == client.records()


@pytest.mark.parametrize(
    ("script", "status", "ended", "result", "reason", "reply"),
    [
        ("exit 0", 0, "accepted", "Accept", "", []),
        ("exit 1", 1, "rejected", "Reject", "credentials", [b"-ERR authorization failed\r\n"]),
        ("exit 111", 111, "rejected", "Reject", "temporary", [b"-ERR authorization failed\r\n"]),
        ("kill -9 $$", None, "crashed", "Reject", "crashed", [b"-ERR aack, child crashed\r\n"]),
        ("kill -13 $$", None, "rejected", "Reject", "session", [b"-ERR aack, child crashed\r\n"]),
    ],
)
def test_a_login(  # noqa: PLR0913, PLR0917 - pytest's parameters
    client: Client, script: str, status: int | None, ended: str, result: str, reason: str, reply: list[bytes]
) -> None:
    """The subprogram's end decides about the reply, the record and how the session ended."""
    said, known = client.say(LOGIN, session(*shell(script)))
    line = record(f"{result}::AUTH::User")
    assert [b"+OK\r\n", b"+OK \r\n", *reply] == said
    assert Told(ended, ended, "", line, 1, 2, 5, b"POP3", status, reason, (3, 4), None) == known
    assert [line] == client.records()


def test_the_subprogram_gets_it_all(client: Client) -> None:
    """Name, secret and timestamp on descriptor 3, and an environment without what is the popup's own."""
    task = session(*shell("tr '\\0' '\\n' <&3; env"), QMAIL_POPUP_TIMEOUT="9", A="1")
    said, _ = client.say(LOGIN, task)
    assert [b"bob\n", b"secret\n", b"<7.1700000000@pop.example.org>\n"] == said[2:5]
    assert b"A=1\n" in said[5:]
    assert not [line for line in said[5:] if line.startswith(b"QMAIL")]


def test_apop(client: Client) -> None:
    """The greeting's timestamp is what the subprogram gets, and the record says Apop."""
    said, known = client.say(b"APOP bob d\r\n", session(*shell("tr '\\0' '\\n' <&3"), POP3AUTH="apop"))
    assert [
        b"+OK <7.1700000000@pop.example.org>\r\n",
        b"bob\n",
        b"d\n",
        b"<7.1700000000@pop.example.org>\n",
    ] == said
    assert record("Accept::AUTH::Apop") == known.record


def test_response_codes(client: Client) -> None:
    """With them on, a refusal says what kind it is."""
    said, _ = client.say(LOGIN, session(*shell("exit 2"), QMAIL_POPUP_RESP_CODES="1"))
    assert b"-ERR [SYS/PERM] authorization failed\r\n" == said[-1]


@pytest.mark.parametrize(("keep", "shown"), [("keep", False), ("no", True)])
def test_descriptor_2(client: Client, keep: str, shown: bool) -> None:  # noqa: FBT001 - pytest's parameter
    """The subprogram's is the network, unless it is to be kept."""
    said, _ = client.say(LOGIN, session(*shell("echo to 2 >&2"), QMAIL_POPUP_STDERR=keep))
    assert shown is (b"to 2\n" in said)
    assert shown is not (b"to 2\n" in client.records())


def test_without_a_log(client: Client) -> None:
    """Where descriptor 5 is none, there is a record anyway, and it is written nowhere."""
    _, known = client.say(LOGIN, session(log=None))
    assert record("Accept::AUTH::User") == known.record
    assert [] == client.records()


def test_who_the_client_is(client: Client) -> None:
    """The record has the server's names for the client, and says POP3S on port 995."""
    names = {"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEHOST": "a.example", "TCPLOCALPORT": "995"}
    _, known = client.say(LOGIN, session(env=names))
    assert b"qmail-popup: pid 7 Accept::AUTH::User P:POP3S S:192.0.2.1:a.example ?~ 'bob'\n" == known.record


def test_a_client_that_leaves(client: Client) -> None:
    """It ends the session without a word."""
    said, known = client.say(b"USER bob\r\nPASS secret", session())
    assert ([b"+OK\r\n", b"+OK \r\n"], "disconnected", b"") == (said, known.ended, known.record)


def test_a_client_that_is_gone_before_the_greeting(client: Client) -> None:
    """Nothing is known then but that it went, and nobody was greeted."""
    client.line.close()
    known = run(session(on_greeted=lambda: os._exit(3)), client.fds)
    assert ("disconnected", 0) == (known.ended, known.greeted)


def test_an_idle_client(client: Client) -> None:
    """It is dropped without a word."""
    with Child(session(QMAIL_POPUP_TIMEOUT="1"), client.fds) as child:
        client.hand_over()
        assert "timeout" == child.result().ended
        assert b"+OK\r\n" == client.line.receive_all()


def test_greeted(client: Client) -> None:
    """Whoever wants to know hears of it once the greeting is out, and before anything is read."""
    reader, writer = os.pipe()

    def heard() -> None:
        os.write(20, b"greeted")
        os.read(0, 6)

    said, _ = client.say(b"LOST\r\nQUIT\r\n", session(on_greeted=heard), fd20=writer)
    assert [b"+OK\r\n", b"+OK \r\n"] == said
    assert b"greeted" == os.read(reader, 99)
    descriptors.close({reader, writer})


def test_tls_required(client: Client) -> None:
    """Without TLS nobody is let in, and the record says so."""
    said, known = client.say(LOGIN, session(UCSPITLS="!"))
    line = record("Reject::STLS::Any", name="unknown")
    assert [b"+OK\r\n", b"-ERR TLS required but not negotiated\r\n"] == said
    assert ("tls_required", line, [line]) == (known.ended, known.record, client.records())


@pytest.mark.parametrize(
    ("reply_to", "ended"),
    [(b"QUIT\r\n", "disconnected"), (b"USER b\r\n", "tls_required"), (b"NOOP\r\n", "disconnected")],
)
def test_a_client_gone_before_a_reply(client: Client, reply_to: bytes, ended: str) -> None:
    """A reply that nobody gets ends the session so, but a refusal is a refusal."""
    client.line.send(reply_to)
    task = session(UCSPITLS="!", on_greeted=lose_the_client)
    known = run(task, client.fds | {2: gone()})
    assert ended == known.ended
    assert (b"Reject" in known.record) is (ended == "tls_required")


def lose_the_client() -> None:
    """Put descriptor 2 in the place of 1."""
    os.dup2(2, 1)


def gone() -> int:
    """Return a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_a_refusal_that_nobody_gets_is_logged(client: Client) -> None:
    """The record comes also where the client leaves while the subprogram looks at its password."""
    with Child(session(*shell("cat >/dev/null; exit 1")), client.fds) as child:
        client.hand_over()
        client.line.send(LOGIN)
        assert [b"+OK\r\n", b"+OK \r\n"] == [client.line.receive_line() for _ in range(2)]
        client.line.close()  # which is what the subprogram waits for
        assert "rejected" == child.result().ended
    assert [record("Reject::AUTH::User")] == client.records()


def test_a_full_log_holds_no_client_up(client: Client) -> None:
    """Where the log has no room, the network is closed at once, and the record comes when there is some."""
    descriptors.fill(client.fds[5])
    with Child(session(), client.fds) as child:
        client.hand_over()
        client.line.send(LOGIN)
        assert b"+OK\r\n+OK \r\n" == client.line.receive_all()
        logged = Line(client.log, -1).receive_all()
        assert "accepted" == child.result().ended
    assert logged.endswith(record("Accept::AUTH::User"))


def test_a_log_that_stays_full_is_given_up(client: Client) -> None:
    """A record waits no longer than the idle timeout."""
    descriptors.fill(client.fds[5])
    client.line.send(LOGIN)
    known = run(session(QMAIL_POPUP_TIMEOUT="1"), client.fds)
    assert ("accepted", record("Accept::AUTH::User")) == (known.ended, known.record)


def test_no_process(client: Client) -> None:
    """A subprogram that cannot be started is a failure of our own: a reply, and no record."""
    said, known = client.say(LOGIN, session(before=few_descriptors))
    assert b"-ERR unable to open pipe\r\n" == said[-1]
    assert ("error", "pipe", b"", []) == (known.ended, known.failure, known.record, client.records())


def few_descriptors() -> None:
    """Leave no number for a pipe."""
    for name in ("qmail_popup.subprogram", "qmail_popup.record"):
        import_module(name)  # while there are still some to read them with
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


@pytest.mark.parametrize("fails", ["to be read", "to be found"])
def test_no_descriptor_to_read_the_module_with(client: Client, fails: str) -> None:
    """From a checkout it is a file: without a descriptor for that there is none for a pipe either."""

    def before() -> None:
        sys.modules.pop("qmail_popup.subprogram", None)
        vars(qmail_popup).pop("subprogram", None)
        if fails == "to be found":
            sys.modules["qmail_popup.subprogram"] = None  # type: ignore[assignment]  # as importlib has it
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))

    said, known = client.say(LOGIN, session(before=before))
    assert b"-ERR unable to open pipe\r\n" == said[-1]
    assert ("error", "pipe", b"", []) == (known.ended, known.failure, known.record, client.records())


def test_a_program_that_is_nowhere(client: Client, tmp_path: Path) -> None:
    """It counts as 111."""
    said, known = client.say(LOGIN, session(str(tmp_path / "none"), QMAIL_POPUP_RESP_CODES="1"))
    assert b"-ERR [SYS/TEMP] authorization failed\r\n" == said[-1]
    assert ("rejected", 111) == (known.ended, known.status)
