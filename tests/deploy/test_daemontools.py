"""deploy/daemontools: the service directories under a real svscan, with a real tcpserver and real logins.

sslserver is in no package that can be had here. A stand-in takes its place in PATH, at the border of the
process: it reads the options that sslserver's manual lists, and speaks TLS and UCSPI-TLS as that does. So
these tests hold what pop3s/run asks of sslserver, and not what sslserver makes of it.
"""

import os
import poplib
import pwd
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import authority
from tests.support.authority import Authority
from tests.support.documents import commands
from tests.support.maildir import MESSAGES
from tests.support.programs import need, need_root
from tests.support.scraper import counts
from tests.support.server import HOST
from tests.support.services import LOGGER, SIDECAR, Host
from tests.support.svscan import SOURCE
from tests.support.waiting import TIMEOUT, until

ACCEPTED = "Accept::AUTH::User P:{} S:127.0.0.1:unknown ?~ 'bob'"
REJECTED = "Reject::AUTH::User P:{} S:127.0.0.1:unknown ?~ 'bob'"


@pytest.fixture
def host(shared_prefix: Path) -> Iterator[Host]:
    """Return a host with daemontools on which nothing is placed yet."""
    need_root()  # for setuidgid and envuidgid, which is what there is to test
    with tempfile.TemporaryDirectory(prefix="daemontools-") as name:
        Path(name).chmod(0o755)
        host = Host(Path(name), shared_prefix)
        with host.svscan:
            yield host


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate authority and a server's certificate."""
    return authority.make(tmp_path_factory.mktemp("authority"))


def served(client: poplib.POP3, password: str | None = None) -> int:
    """Log in, with the right password where none is given, and return how many messages there are."""
    with closing(client):
        client.user("bob")
        client.pass_(password or "secret")
        found = client.stat()[0]
        client.quit()
    return found


def connect(host: Host, name: str = "pop3") -> poplib.POP3:
    """Connect to a service without TLS."""
    return poplib.POP3(HOST, host.svscan.port(name), timeout=TIMEOUT)


def owner(pid: int) -> str:
    """Return the name of the account that a process runs as, in all four ways."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")
    )
    (uid,) = {int(word) for word in line.split()[1:]}
    return pwd.getpwuid(uid).pw_name


def test_logins_are_served_recorded_and_counted(host: Host) -> None:
    """Through tcpserver, popup, checker and POP3 server; the record is in multilog's file."""
    host.place_server("pop3")
    host.place_sidecar()
    host.start()
    assert len(MESSAGES) == served(connect(host))
    with pytest.raises(poplib.error_proto, match="-ERR authorization failed"):
        served(connect(host), "wrong")
    assert host.counts_to("accepted", "rejected")
    assert [ACCEPTED.format("POP3"), REJECTED.format("POP3")] == host.records("pop3", 2)
    assert {(): 7} == counts(host.numbers(), "sessions_limit")


def test_each_runs_as_the_account_that_its_directory_names(host: Host) -> None:
    """Root is the server's alone, and the sidecar's directories are its own and its group's."""
    host.place_server("pop3")
    host.place_sidecar()
    host.start()
    served(connect(host))
    assert host.counts_to("accepted")
    names = ("pop3", "pop3/log", "sidecar", "sidecar/log")
    assert ["root", LOGGER, SIDECAR, LOGGER] == [owner(host.svscan.pid(name)) for name in names]
    places = [path.stat() for path in (host.socket.parent, host.spool, host.state.parent)]
    assert [0o750, 0o2770, 0o750] == [stat.S_IMODE(place.st_mode) for place in places]
    group = pwd.getpwnam(SIDECAR)
    assert {(group.pw_uid, group.pw_gid)} == {(place.st_uid, place.st_gid) for place in places}


def test_directories_that_are_there_stay_as_they_are(host: Host) -> None:
    """They may be others' too: root neither gives them away nor shuts them."""
    host.state.parent.mkdir()
    host.state.parent.chmod(0o1777)
    host.place_sidecar()
    host.start()
    assert {} != host.numbers()
    place = host.state.parent.stat()
    assert (0, 0, 0o1777) == (place.st_uid, place.st_gid, stat.S_IMODE(place.st_mode))


def test_it_takes_over_what_another_account_counted(host: Host) -> None:
    """After the commands of OBSERVE.md, which is for a sidecar that runs as the account of a log."""
    host.place_server("pop3")
    host.place_sidecar()
    account = host.svscan.place_of("sidecar") / "env/ACCOUNT"
    account.write_text(LOGGER)
    host.start()
    served(connect(host))
    assert host.counts_to("accepted")
    host.svscan.control("-d", "sidecar")
    until(lambda: not host.svscan.pid("sidecar"))
    (script,) = commands(SOURCE.parent / "OBSERVE.md", "Switch to the new popup")
    places = {"/run": host.socket.parent, "/var/lib": host.state.parent, "/var/spool": host.spool}
    for base, place in places.items():
        script = script.replace(f"{base}/qmail-popup", str(place))
    subprocess.run(["sh", "-eu", "-c", script.replace("qmailpop", SIDECAR)], check=True)
    account.write_text(SIDECAR)
    host.svscan.control("-u", "sidecar")
    until(lambda: len(host.starts()) > 1)
    assert host.counts_to("accepted")


def test_popups_need_not_be_root(host: Host) -> None:
    """With a checker that becomes nobody, an account in the sidecar's group does, and is counted."""
    host.place_server("pop3", ACCOUNT=SIDECAR, CHECKER="/bin/true")
    host.place_sidecar()
    host.start()
    with closing(connect(host)) as client:
        client.user("bob")
        with pytest.raises(poplib.error_proto, match="EOF"):  # nobody behind the checker serves mail
            client.pass_("secret")
    assert SIDECAR == owner(host.svscan.pid("pop3"))
    assert host.counts_to("accepted")


def test_a_sidecar_that_is_down_is_missed_by_nobody(host: Host) -> None:
    """Svc -d ends it, logins go on, and it counts them after svc -u."""
    host.place_server("pop3")
    host.place_sidecar()
    host.start()
    served(connect(host))
    assert host.counts_to("accepted")
    host.svscan.control("-d", "sidecar")
    until(lambda: host.svscan.pid("sidecar") == 0)
    assert len(MESSAGES) == served(connect(host))
    until((host.spool / "spool").exists)
    host.svscan.control("-u", "sidecar")
    until(lambda: len(host.starts()) == 2)
    assert host.counts_to("accepted", "accepted")


def test_a_session_outlives_the_server_that_took_it(host: Host) -> None:
    """Svc -t starts another tcpserver; who was connected before logs in and reads on."""
    host.place_server("pop3")
    host.start()
    before, pid = connect(host), host.svscan.pid("pop3")
    host.svscan.control("-t", "pop3")
    until(lambda: host.svscan.pid("pop3") not in (0, pid))
    assert len(MESSAGES) == served(before)
    assert len(MESSAGES) == served(connect(host))
    assert [ACCEPTED.format("POP3")] * 2 == host.records("pop3", 2)


def test_rules_decide_who_may_connect(host: Host) -> None:
    """A denied client hears nothing; new rules hold at once, and bad ones leave the old in force."""
    host.place_server("pop3", rules="127.:deny\n:allow\n")
    host.start()
    with socket.create_connection((HOST, host.svscan.port("pop3")), TIMEOUT) as client:
        assert b"" == client.recv(100)
    compile_them = "tcprules tcp.cdb tcp.tmp <tcp"
    place = host.svscan.place_of("pop3")
    for rules, status in ((":allow\n", 0), ("127.:perhaps\n", 100)):
        (place / "tcp").write_text(rules)
        done = subprocess.run(["/bin/sh", "-c", compile_them], cwd=place, stderr=subprocess.PIPE, check=False)
        assert status == done.returncode
        assert len(MESSAGES) == served(connect(host))


def test_memory_is_limited_to_what_an_interpreter_needs(host: Host) -> None:
    """The limit that the server passes on to each session is in force."""
    host.place_server("pop3")
    host.start()
    host.svscan.port("pop3")
    limits = Path(f"/proc/{host.svscan.pid('pop3')}/limits").read_text().splitlines()
    (line,) = [line for line in limits if line.startswith("Max address space")]
    assert "64000000" == line.split()[3]


def place_tls(host: Host, certificates: Authority, **env: str) -> None:
    """Place pop3s, with a stand-in for sslserver."""
    need("svscan")
    host.place_sslserver()
    host.place_server("pop3s", **certificates.environment, **env)
    host.start()


def test_pop3s_speaks_tls_from_the_start(host: Host, certificates: Authority) -> None:
    """As it is handed out: without UCSPITLS."""
    place_tls(host, certificates)
    port = host.svscan.port("pop3s")
    client = poplib.POP3_SSL(HOST, port, timeout=TIMEOUT, context=certificates.trusted())
    assert len(MESSAGES) == served(client)
    assert [ACCEPTED.format("POP3S")] == host.records("pop3s", 1)


@pytest.mark.parametrize("required", ["!", ""], ids=["required", "offered"])
def test_pop3s_waits_for_stls_where_env_says_so(host: Host, certificates: Authority, required: str) -> None:
    """With a file env/UCSPITLS the same directory serves the port without TLS from the start."""
    place_tls(host, certificates, UCSPITLS=required)
    client = connect(host, "pop3s")
    assert "STLS" in client.capa()
    assert ("USER" in client.capa()) is not bool(required)
    client.stls(certificates.trusted())
    assert len(MESSAGES) == served(client)
    assert [ACCEPTED.format("POP3S")] == host.records("pop3s", 1)


def test_the_scripts_are_for_any_posix_shell() -> None:
    """Debian's own sh reads each of them, and each can be executed; the logs are alike."""
    scripts = sorted(SOURCE.glob("**/run"))
    names = ("listener", "pop3", "pop3s", "pop3s-tlswrapper", "sidecar")
    assert {path for name in names for path in (f"{name}/run", f"{name}/log/run")} == {
        str(script.relative_to(SOURCE)) for script in scripts
    }
    for script in scripts:
        subprocess.run([*need("dash"), "-n", script], check=True)
    assert [True] * 10 == [os.access(script, os.X_OK) for script in scripts]
    assert 1 == len({(SOURCE / name / "log/run").read_bytes() for name in names})


def test_each_variable_is_one_line() -> None:
    """Envdir takes the first line of a file, and removes the variable where there is none."""
    for file in SOURCE.glob("**/env/*"):
        assert 1 == file.read_text().count("\n"), file
        assert "\n" == file.read_text()[-1], file
