"""deploy/systemd: the units on a real systemd, with real logins."""

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import authority, maildir, subprogram
from tests.support.authority import Authority
from tests.support.descriptors import CHECKOUT
from tests.support.documents import commands
from tests.support.maildir import SERVED
from tests.support.manager import Systemd
from tests.support.programs import need
from tests.support.scraper import counts
from tests.support.waiting import until

OPERATIONS = CHECKOUT / "deploy/OPERATIONS.md"
POP3, SESSION = "qmail-popup-pop3.socket", "qmail-popup-pop3@.service"
POP3S, TLS_SESSION = "qmail-popup-pop3s.socket", "qmail-popup-pop3s@.service"
SIDECAR_SOCKET, SIDECAR = "qmail-popup-sidecar.socket", "qmail-popup-sidecar.service"
STATE = "/var/lib/qmail-popup/state.sqlite"
SPOOL = "/var/spool/qmail-popup"


@pytest.fixture
def host(installed: Path) -> Iterator[Systemd]:
    """Return a host with systemd and an account, which has not booted yet."""
    with tempfile.TemporaryDirectory(prefix="systemd-") as name:
        directory = Path(name)
        passwords = maildir.pwfile(directory / "passwd", maildir.account(directory))
        checker, told = subprogram.checker(passwords)
        variables = " ".join(f"{name}={value}" for name, value in told.items())
        with Systemd(directory, installed) as host:
            settings = (
                f'[Service]\nEnvironment=HOST=pop.example.org "CHECKER={" ".join(checker)}" {variables}\n'
                f'Environment="POP3_SERVER={subprogram.pop3_server_line()}"\n'
            )
            host.edit(SESSION, settings)
            host.edit(TLS_SESSION, settings)
            yield host


def served(host: Systemd, where: str = "127.0.0.1", user: str = "bob:secret") -> str:
    """Log in from the host itself with curl, and return the first message."""
    return host.try_run("curl", "-sS", "-g", "-u", user, f"pop3://{where}/1").stdout


def counted(host: Systemd, *results: str) -> bool:
    """Whether the sidecar comes to have counted these logins, given time."""
    wanted = {(result,): results.count(result) for result in results}

    def done() -> bool:
        try:
            return wanted == counts(host.numbers(), "auth_attempts_total", "result")
        except OSError:  # it is about to start
            return False

    until(done)
    return True


@pytest.fixture
def untouched(installed: Path) -> Iterator[Systemd]:
    """Return a host with the units as they are handed out, which has not booted yet."""
    with tempfile.TemporaryDirectory(prefix="systemd-") as name, Systemd(Path(name), installed) as host:
        yield host


def test_the_units_work_as_they_are_handed_out(untouched: Systemd) -> None:
    """For a user of the system's, whom checkpw knows and becomes."""
    need("checkpw")
    untouched.boot().run("systemd-sysusers", "--inline", "u bob - - /run/bob")
    bob = maildir.account(untouched.file("/run"))
    maildir.password_file(bob, int(untouched.run("id", "-u", "bob")))
    untouched.run("systemctl", "start", POP3, SIDECAR)
    assert SERVED[0].decode() == served(untouched)
    assert counted(untouched, "accepted")


def test_logins_are_served_recorded_and_counted(host: Systemd) -> None:
    """Over both families of addresses, with the client's in the journal as tcpserver would name it."""
    host.boot().run("systemctl", "start", POP3, SIDECAR)
    message = SERVED[0].decode()
    assert [message, message] == [served(host), served(host, "[::1]")]
    assert "" == served(host, user="bob:wrong")
    assert counted(host, "accepted", "accepted", "rejected")
    records = [line.split(" ", 3)[3] for line in host.journal("--identifier=qmail-popup")]
    assert [
        "Accept::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'",
        "Accept::AUTH::User P:POP3 S:::1:unknown ?~ 'bob'",
        "Reject::AUTH::User P:POP3 S:127.0.0.1:unknown ?~ 'bob'",
    ] == records
    assert [] == [line for line in host.journal("_PID=1") if "Failed" in line]  # a refusal is no failure


def test_the_checker_is_told_of_the_connection(host: Systemd) -> None:
    """By the names of tcpserver, both ends of it, IPv4 plain although the socket is one for IPv6."""
    host.edit(SESSION, '[Service]\nEnvironment=CHECKER=env "POP3_SERVER=exec env"\n')
    host.boot().run("systemctl", "start", POP3)
    for address in ("127.0.0.1", "::1"):
        own_port, *told = host.run("python3", "-c", _LOG_IN, address).splitlines()
        expected = {"PROTO=TCP", f"TCPLOCALIP={address}", "TCPLOCALPORT=110"}
        expected |= {f"TCPREMOTEIP={address}", f"TCPREMOTEPORT={own_port}"}
        assert expected == {line for line in told if line.startswith(("TCP", "PROTO"))}


_LOG_IN = """
import socket, sys
with socket.create_connection((sys.argv[1], 110)) as client:
    client.sendall(b"USER bob\\r\\nPASS secret\\r\\n")
    print(client.getsockname()[1])
    print(client.makefile().read())
"""


def test_an_event_waits_for_a_sidecar_that_was_stopped(host: Systemd) -> None:
    """Its socket is still there: the login starts the sidecar, is not held up, and counts once."""
    host.boot().run("systemctl", "start", POP3, SIDECAR)
    served(host)
    assert counted(host, "accepted")
    host.run("systemctl", "stop", SIDECAR)
    assert SERVED[0].decode() == served(host)
    assert counted(host, "accepted", "accepted")
    assert "active" == host.property(SIDECAR, "ActiveState")


def test_a_sidecar_that_was_stopped_with_its_socket_stays_away(host: Systemd) -> None:
    """Events go to the spool, and it counts them once it is wanted again."""
    host.boot().run("systemctl", "start", POP3, SIDECAR)
    host.run("systemctl", "stop", SIDECAR_SOCKET, SIDECAR)
    assert SERVED[0].decode() == served(host)
    until(host.file(f"{SPOOL}/spool").exists)
    assert "inactive" == host.property(SIDECAR, "ActiveState")
    host.run("systemctl", "start", SIDECAR)
    assert counted(host, "accepted")


def test_a_sidecar_that_was_killed_comes_back(host: Systemd) -> None:
    """With all that it had counted, and with what came in between."""
    host.boot().run("systemctl", "start", POP3, SIDECAR)
    served(host)
    assert counted(host, "accepted")
    host.run("systemctl", "kill", "--signal=KILL", SIDECAR)
    served(host, user="bob:wrong")
    assert counted(host, "accepted", "rejected")
    assert "1" == host.property(SIDECAR, "NRestarts")


def test_a_sidecar_that_cannot_start_is_tried_again(host: Systemd) -> None:
    """However often it failed: logins go on, and count once what hindered it is gone."""
    host.edit(SIDECAR, "[Service]\nRestartSec=100ms\n")
    host.boot().file(STATE).write_text("no store" * 1000)
    host.run("systemctl", "start", POP3)
    assert 0 != host.try_run("systemctl", "start", SIDECAR).returncode
    for _ in range(3):
        assert SERVED[0].decode() == served(host)
    until(lambda: int(host.property(SIDECAR, "NRestarts")) > 5)
    host.file(STATE).unlink()
    assert counted(host, "accepted", "accepted", "accepted")


def test_popups_need_not_be_root(host: Systemd) -> None:
    """Any account does that has the sidecar's group, where the checker becomes nobody."""
    host.edit(SESSION, "[Service]\nUser=nobody\nGroup=qmailpop\n")
    host.edit(SESSION, '[Service]\nEnvironment=CHECKER=env "POP3_SERVER=exec id -un"\n')
    host.boot().run("systemctl", "start", POP3, SIDECAR)
    assert "nobody" == host.run("python3", "-c", _LOG_IN, "127.0.0.1").split()[-1]
    assert counted(host, "accepted")


def test_the_sidecar_has_no_rights_but_its_own(host: Systemd) -> None:
    """An account, no capability, no way to any; its places are for it and its group."""
    host.boot().run("systemctl", "start", SIDECAR)
    user, group = (int(host.run("id", option, "qmailpop")) for option in ("-u", "-g"))
    pid = host.property(SIDECAR, "MainPID")
    status = dict(line.split(":\t", 1) for line in host.run("cat", f"/proc/{pid}/status").splitlines())
    assert [f"{user}\t" * 3 + str(user), "0" * 16, "1", "2"] == [
        status[name] for name in ("Uid", "CapBnd", "NoNewPrivs", "Seccomp")
    ]
    places = {
        "/run/qmail-popup": (user, group, 0o750),
        "/run/qmail-popup/sidecar.sock": (0, group, 0o660),
        SPOOL: (user, group, 0o2770),
        "/var/lib/qmail-popup": (user, group, 0o750),
        STATE: (user, group, 0o600),
    }
    found = {place: host.file(place).stat() for place in places}
    assert places == {
        place: (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) for place, status in found.items()
    }


def test_all_that_the_sidecar_sends_leaves_its_sandbox(host: Systemd) -> None:
    """Pushes, spans and counters, from the exporter's process too; the counters go out when it is stopped."""
    to = "http://127.0.0.1:9091"
    options = f"--json-log --push {to} --otlp {to} --otlp-metrics --instance mx"
    host.edit(
        SIDECAR,
        "[Service]\nEnvironment=OTEL_BSP_SCHEDULE_DELAY=100\n"
        f"ExecStart=\nExecStart=/usr/local/bin/qmail-popup-sidecar {options}\n",
    )
    command = f"/usr/bin/python3 -I {CHECKOUT}/tests/support/receiver.py 9091 /run/received"
    host.add("receiver.service", f"[Service]\nType=notify\nExecStart={command}\n")
    host.boot().run("systemctl", "start", "receiver.service", POP3, SIDECAR)
    received = host.file("/run/received")
    served(host)
    until(lambda: "/v1/traces" in received.read_text())
    host.run("systemctl", "stop", SIDECAR)
    assert "success" == host.property(SIDECAR, "Result")
    paths = {"/metrics/job/qmail-popup/instance/mx", "/v1/traces", "/v1/metrics"}
    assert paths == set(received.read_text().split())
    log = host.journal("--identifier=qmail-popup-sidecar")
    assert 1 == sum('"result": "accepted"' in line for line in log)
    assert [] == [line for line in log if '"warning"' in line or '"error"' in line]


def test_a_pusher_outlives_the_session_that_started_it(host: Systemd) -> None:
    """On a host without a sidecar: it drains the spool when the session is long over."""
    told = "QMAIL_POPUP_SIDECAR= QMAIL_POPUP_PUSHGATEWAY=http://127.0.0.1:1"
    host.edit(SESSION, f"[Service]\nEnvironment={told}\n")
    host.boot().run("systemctl", "start", POP3)
    served(host)
    until(lambda: host.file(STATE).exists() and not host.file(f"{SPOOL}/spool").exists())


def test_a_sidecar_without_a_spool_serves(host: Systemd) -> None:
    """Its sandbox does not ask for the directory: popups that connect are counted."""
    host.boot().run("mv", SPOOL, f"{SPOOL}.off")
    host.run("systemctl", "start", POP3, SIDECAR)
    assert SERVED[0].decode() == served(host)
    assert counted(host, "accepted")


def test_all_can_be_turned_off(host: Systemd) -> None:
    """As the page says: logins are served, no sidecar is started by them, and nothing is left for one."""
    host.boot().run("systemctl", "start", POP3, SIDECAR)
    served(host)
    assert counted(host, "accepted")
    block = commands(OPERATIONS, "Turn everything off")[1]
    host.run("sh", "-eu", "-c", block.replace("/etc/systemd/system", "/run/units"))
    assert SERVED[0].decode() == served(host)
    assert ["inactive"] * 2 == [host.property(unit, "ActiveState") for unit in (SIDECAR_SOCKET, SIDECAR)]
    assert not host.file(f"{SPOOL}/spool").exists()


def test_a_corrupt_state_is_moved_aside(host: Systemd) -> None:
    """As the page says, with both units stopped; what comes after that is counted from 0."""
    host.boot().file(STATE).write_text("no store" * 1000)
    host.run("systemctl", "start", SIDECAR_SOCKET)
    host.run("systemctl", "stop", SIDECAR_SOCKET)
    (block,) = commands(OPERATIONS, "Start over")
    said = host.try_run("sh", "-c", block)
    assert (0, "moved the state to" in said.stderr) == (said.returncode, True)
    host.run("systemctl", "start", POP3, SIDECAR)
    served(host)
    assert counted(host, "accepted")


@pytest.fixture
def secure(host: Systemd, tmp_path: Path) -> Authority:
    """Give the host a certificate, and its service for POP3S what the one for POP3 has."""
    made = authority.make(tmp_path)
    pem = made.both(tmp_path / "both.pem")
    host.edit(TLS_SESSION, f"[Service]\nEnvironment=CERTIFICATE={pem}\n")
    return made


def test_pop3s_leaves_address_and_record_as_they_are(host: Systemd, secure: Authority) -> None:
    """The record names the client, who is not on the host's own address, and says POP3S."""
    need("tlswrapper")
    host.boot().run("systemctl", "start", POP3S, SIDECAR)
    where = ("--interface", "127.0.0.2", "--cacert", secure.ca, "pop3s://127.0.0.1/1")
    assert SERVED[0].decode() == host.run("curl", "-sS", "-u", "bob:secret", *where)
    assert 67 == host.try_run("curl", "-sS", "-u", "bob:wrong", *where).returncode
    assert counted(host, "accepted", "rejected")
    assert {("TLSv1.2",): 2} == counts(host.numbers(), "tls_sessions_total", "version")
    records = [line.split(" ", 3)[3] for line in host.journal("--identifier=qmail-popup")]
    words = "AUTH::User P:POP3S S:127.0.0.2:unknown ?~ 'bob'"
    assert [f"Accept::{words}", f"Reject::{words}"] == records


def test_one_address_does_not_take_all_sessions(host: Systemd) -> None:
    """Beyond its share it is turned away, and others are served."""
    host.edit(POP3, "[Socket]\nMaxConnectionsPerSource=2\n")
    host.boot().run("systemctl", "start", POP3)
    greeted = host.run("python3", "-c", _CROWD).split()
    assert ["True", "True", "False", "True"] == greeted


_CROWD = """
import socket
addresses = ["127.0.0.2"] * 3 + ["127.0.0.3"]
clients = [socket.create_connection(("127.0.0.1", 110), 60, (address, 0)) for address in addresses]
print(*(client.recv(1) == b"+" for client in clients))
"""


_LOGINS = 10
_LOG_IN_AND_STAY = f"""
import pathlib, socket
clients = [socket.create_connection(("127.0.0.1", 110)) for _ in range({_LOGINS})]
for client in clients:
    client.sendall(b"USER bob\\r\\nPASS secret\\r\\n")
    lines = client.makefile("rb")
    assert all(lines.readline().startswith(b"+OK") for _ in range(3))
pathlib.Path("/run/all-in").touch()
for client in clients:
    client.recv(4096)
"""


@pytest.mark.parametrize("at_once", [False, True], ids=["sessions alone", "with the sidecar"])
def test_sessions_that_are_stopped_have_their_record_and_count(host: Systemd, *, at_once: bool) -> None:
    """Within the time that systemd gives them, and before a sidecar that is stopped in the same breath."""
    host.boot().run("systemctl", "start", POP3, SIDECAR)
    host.run("systemd-run", "--quiet", "--collect", "python3", "-c", _LOG_IN_AND_STAY)
    until(host.file("/run/all-in").exists)
    sessions = SESSION.replace("@", "@*")
    host.run("systemctl", "stop", sessions, *([SIDECAR_SOCKET, SIDECAR] if at_once else []))
    host.run("systemctl", "start", SIDECAR)
    assert counted(host, *["rejected"] * _LOGINS)
    records = [line for line in host.journal("--identifier=qmail-popup") if "Reject::AUTH::User" in line]
    assert _LOGINS == len(records)
    assert {("rejected",): _LOGINS} == counts(host.numbers(), "sessions_total", "ended")
    assert [] == [line for line in host.journal("_PID=1") if "timed out" in line]
    assert not host.file(f"{SPOOL}/spool").exists()


_STAY_OVER_TLS = """
import pathlib, socket, ssl, sys
bare = socket.create_connection(("127.0.0.1", 995))
client = ssl.create_default_context(cafile=sys.argv[1]).wrap_socket(bare, server_hostname="localhost")
client.sendall(b"USER bob\\r\\nPASS secret\\r\\n")
lines = client.makefile("rb")
assert all(lines.readline().startswith(b"+OK") for _ in range(3))
pathlib.Path("/run/in").touch()
lines.read()
"""


def test_a_session_over_tls_that_is_stopped_has_its_record_and_counts(
    host: Systemd, secure: Authority
) -> None:
    """Although the popup is not what systemd started, but a child of that."""
    host.boot().run("systemctl", "start", POP3S, SIDECAR)
    host.run("systemd-run", "--quiet", "--collect", "/usr/bin/python3", "-c", _STAY_OVER_TLS, secure.ca)
    until(host.file("/run/in").exists)
    host.run("systemctl", "stop", TLS_SESSION.replace("@", "@*"))
    assert counted(host, "rejected")
    (record,) = [line for line in host.journal("--identifier=qmail-popup") if "AUTH::User" in line]
    assert record.endswith("Reject::AUTH::User P:POP3S S:127.0.0.1:unknown ?~ 'bob'")
