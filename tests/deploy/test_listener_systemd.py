"""deploy/systemd: the units of the listener on a real systemd: reloads, restarts, and real mail."""

import re
import shutil
import socket
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import authority, big_mail, maildir, subprogram
from tests.support.descriptors import CHECKOUT
from tests.support.documents import commands
from tests.support.load import Load
from tests.support.maildir import SERVED
from tests.support.manager import Systemd
from tests.support.programs import need
from tests.support.resident import read_all, read_line
from tests.support.scraper import counts
from tests.support.secure import Client
from tests.support.waiting import until

SOCKET, SERVICE = "qmail-popup-listener.socket", "qmail-popup-listener.service"
POP3, SESSION = "qmail-popup-pop3.socket", "qmail-popup-pop3@.service"
README, SECURITY = CHECKOUT / "deploy/systemd/README.md", CHECKOUT / "SECURITY.md"
OPERATIONS = CHECKOUT / "deploy/OPERATIONS.md"
SIDECAR = "qmail-popup-sidecar.service"
_LOGIN = b"USER bob\r\nPASS secret\r\nQUIT\r\n"
_RECORD = "Accept::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'"


@pytest.fixture
def bob() -> Iterator[maildir.Account]:
    """Return an account, below a directory that all may enter."""
    with tempfile.TemporaryDirectory(prefix="systemd-") as name:
        yield maildir.account(Path(name))


@pytest.fixture
def settings(bob: maildir.Account) -> str:
    """Return the drop-in of an operator who has another checker and another POP3 server."""
    checker, told = subprogram.checker(maildir.pwfile(bob.home.with_name("passwd"), bob))
    variables = " ".join(f"{name}={value}" for name, value in told.items())
    return (
        f'[Service]\nEnvironment=HOST=pop.example.org "CHECKER={" ".join(checker)}" {variables}\n'
        f'Environment="POP3_SERVER={subprogram.pop3_server_line()}"\n'
    )


@pytest.fixture
def bare(installed: Path, bob: maildir.Account) -> Iterator[Systemd]:
    """Return a host with the listener's units and an account, which has not booted yet."""
    with Systemd(bob.home.parent, installed) as host:
        yield host


@pytest.fixture
def host(bare: Systemd, settings: str) -> Systemd:
    """Return one whose listener lets the account in."""
    bare.edit(SERVICE, settings)
    return bare


def messages(host: Systemd) -> list[str]:
    """Return what the listener itself has said."""
    lines = host.journal("--identifier=qmail-popup")
    return [
        line.removeprefix("qmail-popup-listener: ")
        for line in lines
        if line.startswith("qmail-popup-listener: ")
    ]


def records(host: Systemd) -> list[str]:
    """Return the records in the journal, without their numbers."""
    lines = host.journal("--identifier=qmail-popup")
    return [line.split(" ", 3)[3] for line in lines if line.startswith("qmail-popup: pid ")]


def reload(host: Systemd) -> None:
    """Have it reload, and wait until that is done."""
    count = messages(host).count("reloaded")
    host.run("systemctl", "reload", SERVICE)
    until(lambda: messages(host).count("reloaded") > count)


def restart(host: Systemd) -> None:
    """Have it restart; systemctl waits until it is ready."""
    host.run("systemctl", "restart", SERVICE)


def counted(host: Systemd, accepted: int) -> bool:
    """Whether the sidecar comes to have counted so many logins, and no others."""

    def done() -> bool:
        try:
            return {("accepted",): accepted} == counts(host.numbers(), "auth_attempts_total", "result")
        except OSError:  # it is about to start
            return False

    until(done)
    return True


def test_the_units_work_as_they_are_handed_out(installed: Path) -> None:
    """Turned on by the page's commands, for a user of the system's, whom checkpw knows and becomes."""
    need("checkpw")
    with tempfile.TemporaryDirectory(prefix="systemd-") as name, Systemd(Path(name), installed) as host:
        host.boot().run("systemd-sysusers", "--inline", "u bob - - /run/bob")
        bob = maildir.account(host.file("/run"))
        maildir.password_file(bob, int(host.run("id", "-u", "bob")))
        host.run("sh", "-eu", "-c", commands(README, "The listener")[0])
        host.run("systemctl", "start", SIDECAR)
        mail = host.run("curl", "-sS", "-u", "bob:secret", "pop3://127.0.0.1/1")
        assert SERVED[0].decode() == mail
        assert ("active", [_RECORD]) == (host.property(SERVICE, "ActiveState"), records(host))
        assert counted(host, 1)


def test_reloads_and_restarts_under_load(host: Systemd) -> None:
    """No client is refused, each has its mail, and all are recorded and counted."""
    host.boot().run("systemctl", "start", SOCKET, SERVICE, SIDECAR)
    pid = host.property(SERVICE, "MainPID")
    with host.dialer(110) as dial, Load(dial, _LOGIN, clients=4) as load:
        for happen in (reload, restart, reload, restart):
            load.wait_for_more(10)
            happen(host)
        load.wait_for_more(10)
        load.stop()
    assert pid != host.property(SERVICE, "MainPID")
    assert {True} == {answer.startswith(b"+OK\r\n+OK \r\n+OK ") for answer in load.answers}, load.answers
    until(lambda: len(load.answers) <= len(records(host)))
    assert [_RECORD] * len(load.answers) == records(host)
    assert counted(host, len(load.answers))


def test_a_reload_is_one_process(host: Systemd) -> None:
    """Systemd goes on with the one that it knows, and is told when it reloads and when it is ready."""
    host.boot().run("systemctl", "start", SOCKET, SERVICE)
    pid = host.property(SERVICE, "MainPID")
    reload(host)
    until(lambda: "active" == host.property(SERVICE, "ActiveState"))
    assert pid == host.property(SERVICE, "MainPID")
    assert {"Reloading", "Reloaded"} <= {line.split()[0] for line in host.journal("_PID=1")}


def test_a_long_mail(host: Systemd, bob: maildir.Account) -> None:
    """100 MB come whole over reloads and restarts, byte by byte, and the login has its record."""
    sent = big_mail.deliver(bob)
    host.boot().run("systemctl", "start", SOCKET, SERVICE)
    with host.dialer(110) as dial, dial() as peer:
        reader = big_mail.Reader(peer)
        for happen in (reload, restart, reload, restart):
            reader.read(big_mail.SIZE // 10)
            happen(host)
        assert sent == reader.rest()
    until(lambda: [_RECORD] == records(host))


def test_sessions_can_be_ended(host: Systemd, bob: maildir.Account) -> None:
    """By the commands of OPERATIONS.md, which show old processes, and end what those serve; all count."""
    big_mail.deliver(bob)
    host.boot().run("systemctl", "start", SOCKET, SERVICE, SIDECAR)
    block = commands(OPERATIONS, "The listener")[1]
    with host.dialer(110) as dial, dial() as peer, dial() as other:
        big_mail.Reader(peer)
        reload(host)
        big_mail.Reader(other)
        shown = host.run("sh", "-eu", "-c", block)
        assert 2 == shown.count("popup-spawner")
        until(lambda: 2 == len(records(host)))
    assert {"Reject::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'"} == set(records(host))


def test_workers_can_be_ended(host: Systemd, bob: maildir.Account) -> None:
    """By the command of SECURITY.md, those of before a reload too; a session in clear goes on."""
    sent = big_mail.deliver(bob)
    (command,) = re.findall(r"`(pkill .*popup-worker)`", SECURITY.read_text(encoding="utf-8"))
    host.boot().run("systemctl", "start", SOCKET, SERVICE)
    with host.dialer(110) as dial, dial() as peer, dial() as idle:
        reader = big_mail.Reader(peer)
        assert read_line(idle).startswith(b"+OK")
        reload(host)
        before = host.run("pgrep", "-x", "popup-worker").split()
        host.run("sh", "-c", command)
        assert b"" == read_all(idle)
        assert sent == reader.rest()
        until(lambda: not {*before} & {*host.try_run("pgrep", "-x", "popup-worker").stdout.split()})
        with dial() as late:
            assert read_line(late).startswith(b"+OK")


def test_from_a_popup_for_each_connection_and_back(bare: Systemd, settings: str) -> None:
    """By the commands of OPERATIONS.md: settings and port are taken over, and no session ends."""
    there, back = commands(OPERATIONS, "From tcpserver or sslserver to the listener")[-2:]
    bare.edit(SESSION, settings)
    bare.boot().run("systemctl", "start", POP3)
    with bare.dialer(110) as dial, ExitStack() as stack:
        clients = [stack.enter_context(logged_in(dial))]
        bare.run("sh", "-eu", "-c", there.replace("/etc/systemd/system", "/run/units"))
        assert ("active", "inactive") == states(bare)
        clients.append(stack.enter_context(logged_in(dial)))
        bare.run("sh", "-eu", "-c", back)
        assert ("inactive", "active") == states(bare)
        clients.append(stack.enter_context(logged_in(dial)))
        for client in clients:
            client.sendall(b"STAT\r\nQUIT\r\n")
            assert read_line(client).startswith(b"+OK 2 ")
    until(lambda: [_RECORD] * 3 == records(bare))


def logged_in(dial: Callable[[], socket.socket]) -> socket.socket:
    """Connect, and log in."""
    peer = dial()
    peer.sendall(b"USER bob\r\nPASS secret\r\n")
    for _ in range(3):
        assert read_line(peer).startswith(b"+OK")
    return peer


def states(host: Systemd) -> tuple[str, str]:
    """Return the states of the listener's socket, and of the one that starts a popup for each connection."""
    return host.property(SOCKET, "ActiveState"), host.property(POP3, "ActiveState")


def test_pop3s(host: Systemd, bob: maildir.Account, tmp_path: Path) -> None:
    """Turned on by the page's commands; a mail of 100 MB comes whole over reloads and restarts."""
    sent = big_mail.deliver(bob)
    made = authority.make(tmp_path)
    host.boot().run("systemctl", "start", SOCKET, SERVICE)
    turn_tls_on(host, made.both(tmp_path / "both.pem"))
    with host.dialer(995) as dial, Client(dial(), made.trusted()) as peer:
        reader = big_mail.Reader(peer)
        for happen in (reload, restart, reload, restart):
            reader.read(big_mail.SIZE // 10)
            happen(host)
        assert sent == reader.rest()
    until(lambda: [_RECORD.replace("POP3", "POP3S")] == records(host))


def turn_tls_on(host: Systemd, pem: Path) -> None:
    """Put a certificate in place, and do what the page says of TLS."""
    _, drop_in, start = commands(README, "The listener")
    place = host.file(f"/etc/qmail-popup/tls/{host.run('hostname').strip()}.pem")
    place.parent.mkdir(parents=True)
    shutil.copy(pem, place)
    host.file(f"/run/units/{SERVICE}.d/tls.conf").write_text(textwrap.dedent(drop_in))
    host.run("systemctl", "daemon-reload")
    host.run("sh", "-eu", "-c", start)


def test_a_renewed_certificate(host: Systemd, tmp_path: Path) -> None:
    """The hook, as OPERATIONS.md has certbot run it, puts it into force; a session of before goes on."""
    old, new = (authority.make(made(tmp_path / name)) for name in ("old", "new"))
    host.boot().run("systemctl", "start", SOCKET, SERVICE)
    turn_tls_on(host, old.both(tmp_path / "both.pem"))
    name = host.run("hostname").strip()
    lineage = host.file(f"/etc/letsencrypt/live/{name}")
    for directory in (lineage, host.file("/etc/letsencrypt/renewal-hooks/deploy")):
        directory.mkdir(parents=True)
    shutil.copy(new.key, lineage / "privkey.pem")
    shutil.copy(new.certificate, lineage / "fullchain.pem")
    (block,) = commands(OPERATIONS, "Renewed certificates")
    with host.dialer(995) as dial, Client(dial(), old.trusted()) as before:
        assert read_line(before).startswith(b"+OK")
        host.run("sh", "-eu", "-c", f"cd {CHECKOUT}\n{block.replace('pop.example.org', name)}")
        until(lambda: "reloaded" in messages(host))
        with Client(dial(), new.trusted()) as after:
            assert read_line(after).startswith(b"+OK")
        before.sendall(b"USER bob\r\nPASS secret\r\nSTAT\r\n")
        assert [True] * 3 == [read_line(before).startswith(b"+OK") for _ in range(3)]


def made(directory: Path) -> Path:
    """Make a directory."""
    directory.mkdir()
    return directory


def test_a_stop(host: Systemd, bob: maildir.Account) -> None:
    """It ends no session; `systemctl kill` does, and each has its record and counts."""
    big_mail.deliver(bob)
    host.boot().run("systemctl", "start", SOCKET, SERVICE, SIDECAR)
    with host.dialer(110) as dial, dial() as peer:
        reader = big_mail.Reader(peer)
        host.run("systemctl", "stop", SOCKET, SERVICE)
        assert "inactive" == host.property(SERVICE, "ActiveState")
        reader.read(big_mail.SIZE // 10)
        assert [] == records(host)
        host.run("systemctl", "kill", SERVICE)
        until(lambda: ["Reject::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'"] == records(host))
